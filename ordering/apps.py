from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class OrderingConfig(AppConfig):
    name = "ordering"
    verbose_name = _("Burger shop")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.db.models.signals import post_save

        from ordering.measure.orders import placed

        post_save.connect(placed, sender="ordering.Order", dispatch_uid="ordering.measure")
