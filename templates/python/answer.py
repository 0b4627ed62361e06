"""Says what it was asked for. Apart from the handler, so that a test can call it where no server is."""


def answer(path_with_query: str) -> str:
    path = path_with_query.partition("?")[0]
    return f"Hello from {{name}}. You asked for {path}\n"
