"""x"""


def diagnose(s):
    return []
