from django.urls import path

from .views import hook

app_name = "webhooks"
urlpatterns = [path("<slug:provider>/<slug:pipeline>", hook, name="hook")]
