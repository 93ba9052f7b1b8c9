"""Fills NetBox's forms in the browser."""

__all__ = ("choose",)


def choose(page, name, option):
    """
    Choose an option of a field, once NetBox's scripts have replaced the field by their own.

    Args:
        page: The page.
        name: The field's name.
        option: The option's whole text.
    """
    page.locator(f"#id_{name}-ts-control").click()
    page.get_by_role("option", name=option, exact=True).click()
