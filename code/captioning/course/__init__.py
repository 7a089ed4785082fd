"""The course: what each chapter runs on, small stand-ins for large models, the runner, its page, the documentation."""
