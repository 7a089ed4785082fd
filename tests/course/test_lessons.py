"""Chapter 08: whoever is taught has as much time as a student alone, and no more passes."""

import pytest

from captioning.course.distillation import LESSONS, WAYS


@pytest.mark.parametrize("lesson", LESSONS.values(), ids=LESSONS)
def test_each_student_makes_a_pass_at_least(lesson):
    assert lesson.pictures in lesson.passes
    for pictures, alone in lesson.passes.items():
        passes = {way: lesson.of(way, pictures, seed=7).epochs for way in WAYS}
        others = {"alone": alone, "attention": alone // 2, "captions": alone - lesson.writing}
        assert passes == dict.fromkeys(WAYS, alone - 1) | others
        assert min(passes.values()) >= 1


def test_only_the_length_and_the_seed_differ_from_the_settings():
    lesson = LESSONS["mini"]
    training = lesson.of("logits", 1000, seed=2)
    assert training.seed == 2
    assert (training.lr, training.batch_size) == (lesson.training.lr, lesson.training.batch_size)
