"""The portal's settings, with a state folder of the tests' own."""

from tests import home  # noqa: F401, I001  has to come first

from portal.settings import *
