"""The shop's addresses, below wherever a project mounts them."""

from django.urls import path

from ordering.views import account, api, cart, checkout, item, kitchen, menu, order

app_name = "ordering"

urlpatterns = [
    path("", menu.menu, name="menu"),
    path("menu/<slug:slug>/", item.item, name="item"),
    path("cart/", cart.cart, name="cart"),
    path("cart/change/", cart.change_cart, name="change-cart"),
    path("checkout/", checkout.checkout, name="checkout"),
    path("orders/<slug:token>/", order.order, name="order"),
    path("orders/<slug:token>/status/", order.order_status, name="order-status"),
    path("orders/<slug:token>/cancel/", order.cancel_order, name="cancel-order"),
    path("orders/<slug:token>/again/", order.order_again, name="order-again"),
    path("account/", account.history, name="account"),
    path("account/sign-in/", account.sign_in, name="sign-in"),
    path("account/sign-up/", account.sign_up, name="sign-up"),
    path("account/sign-out/", account.sign_out, name="sign-out"),
    path("kitchen/", kitchen.board, name="kitchen"),
    path("kitchen/board/", kitchen.board_fragment, name="kitchen-board"),
    path("kitchen/pause/", kitchen.pause, name="kitchen-pause"),
    path("kitchen/orders/<int:pk>/make/", kitchen.make, name="kitchen-make"),
    path("kitchen/orders/<int:pk>/unmake/", kitchen.unmake, name="kitchen-unmake"),
    path("kitchen/orders/<int:pk>/advance/", kitchen.advance, name="kitchen-advance"),
    path("kitchen/orders/<int:pk>/undo/", kitchen.undo, name="kitchen-undo"),
    path("kitchen/orders/<int:pk>/cancel/", kitchen.cancel, name="kitchen-cancel"),
    path("api/menu", api.menu, name="api-menu"),
    path("api/hours", api.hours, name="api-hours"),
    path("api/orders", api.place, name="api-orders"),
    path("api/orders/<slug:token>", api.order, name="api-order"),
]
