"""Make a superuser with an API token: python -m tests.stack.accounts USERNAME PASSWORD TOKEN"""

import sys

import django


def create_superuser(username, password, token):
    """
    Make a superuser with a v2 API token.

    Args:
        username: The user's name.
        password: The user's password.
        token: The token as clients send it, "nbt_KEY.SECRET".
    """
    from users.models import Token, User

    key, secret = token.removeprefix("nbt_").split(".")
    user = User.objects.create_superuser(username, password=password)
    Token.objects.create(user=user, key=key, token=secret)


if __name__ == "__main__":
    django.setup()
    create_superuser(*sys.argv[1:])
