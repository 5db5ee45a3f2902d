"""How an exercise is checked: the check is an ordinary function that asserts."""


def attempt(check, answer):
    """Run ``check(answer)``, print what it says, and return whether it passed."""
    try:
        check(answer)
    except Exception as reason:  # a stub may fail in any way
        print(f"{check.__name__}: not solved yet. {reason}")
        return False
    print(f"{check.__name__}: solved")
    return True
