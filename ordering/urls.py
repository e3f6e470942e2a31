"""The shop's addresses, below wherever a project mounts them."""

from django.urls import path

from ordering.views import api, cart, checkout, customer, item, kitchen, menu

app_name = "ordering"

urlpatterns = [
    path("", menu.menu, name="menu"),
    path("menu/<slug:slug>/", item.item, name="item"),
    path("cart/", cart.cart, name="cart"),
    path("cart/change/", cart.change_cart, name="change-cart"),
    path("checkout/", checkout.checkout, name="checkout"),
    path("orders/<slug:token>/", customer.order, name="order"),
    path("orders/<slug:token>/status/", customer.order_status, name="order-status"),
    path("kitchen/", kitchen.board, name="kitchen"),
    path("kitchen/board/", kitchen.board_fragment, name="kitchen-board"),
    path("kitchen/orders/<int:pk>/advance/", kitchen.advance, name="kitchen-advance"),
    path("kitchen/orders/<int:pk>/undo/", kitchen.undo, name="kitchen-undo"),
    path("kitchen/orders/<int:pk>/cancel/", kitchen.cancel, name="kitchen-cancel"),
    path("api/menu", api.menu, name="api-menu"),
    path("api/orders", api.place, name="api-orders"),
    path("api/orders/<slug:token>", api.order, name="api-order"),
]
