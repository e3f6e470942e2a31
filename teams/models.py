"""Who people are, which teams they are in, and the append-only record of what they did."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.core.validators import RegexValidator
from django.db import models

from .policy import Actor, Role

slug_validator = RegexValidator(
    r"^[a-z][a-z0-9-]{0,38}$", "Use a lower-case letter, then letters, digits and hyphens; at most 39 characters."
)


class User(AbstractUser):
    """A person or a program. What they may do follows from their memberships alone."""

    def as_actor(self) -> Actor:
        """The plain data that `teams.policy` judges."""
        roles = {m.team.slug: Role(m.role) for m in self.memberships.select_related("team")}
        return Actor(username=self.username, roles=roles, is_admin=self.is_superuser, is_active=self.is_active)


class Team(models.Model):
    slug = models.CharField(max_length=39, unique=True, validators=[slug_validator])
    name = models.CharField(max_length=80)
    color = models.CharField(max_length=7, default="#5b6472", validators=[RegexValidator(r"^#[0-9a-f]{6}$")])
    members = models.ManyToManyField(User, through="Membership", related_name="teams")

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=[(r.value, r.name.title()) for r in Role], default=Role.MEMBER)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "team"], name="one_membership_per_team")]

    def __str__(self) -> str:
        return f"{self.user} in {self.team} as {self.role}"


class AuditEntry(models.Model):
    """One thing that somebody did, or was refused. Rows are only ever added: triggers refuse the rest."""

    at = models.DateTimeField(auto_now_add=True)
    actor = models.CharField(max_length=150, blank=True)
    action = models.CharField(max_length=40)
    target = models.CharField(max_length=200)
    allowed = models.BooleanField()
    reason = models.TextField(blank=True)
    data = models.JSONField(default=dict)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["target", "-id"], name="audit_target")]
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return f"{self.at:%F %T} {self.actor} {self.action} {self.target}"
