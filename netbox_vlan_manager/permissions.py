"""Registers the actions that an object permission may grant besides view, add, change and delete."""

from utilities.permissions import ModelAction, register_model_actions

from .models import SegmentPool

register_model_actions(
    SegmentPool,
    [
        ModelAction("allocate", help_text="Allocate a segment of the pool to a cluster"),
        ModelAction("release", help_text="Release any allocation of the pool"),
        ModelAction(
            "release_own",
            help_text="Release an allocation of the pool that the user, or a member of one of the user's groups, made",
        ),
    ],
)
