"""Chapter 08: whoever is taught has as much time as a student alone, and no more passes."""

import pytest

from captioning.course.distillation import LESSONS, WAYS


def test_equal_seconds_in_passes():
    """Of 1,500 photographs: 10 steps of one are 5.3 of 1.7 and one for the reading, 5 of two, 9 and one for the
    writing."""
    passes = {way: LESSONS["photos"].of(way, 1500, seed=0).epochs for way in WAYS}
    assert passes == {"alone": 10, "logits": 5, "logits at T=2": 5, "attention": 5, "captions": 9}


@pytest.mark.parametrize("lesson", LESSONS.values(), ids=LESSONS)
def test_each_student_makes_a_pass_at_least(lesson):
    assert lesson.pictures in lesson.passes
    for pictures, alone in lesson.passes.items():
        passes = {way: lesson.of(way, pictures, seed=7).epochs for way in WAYS}
        assert passes["alone"] == alone and min(passes.values()) >= 1 and max(passes.values()) == alone


def test_only_the_length_and_the_seed_differ_from_the_settings():
    lesson = LESSONS["mini"]
    training = lesson.of("logits", 1000, seed=2)
    assert training.seed == 2
    assert (training.lr, training.batch_size) == (lesson.training.lr, lesson.training.batch_size)
