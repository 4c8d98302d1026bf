from obuild.events import EngineCalled
from obuild.progress.calls import log_line, shell_line


def test_as_obuilder_logs_it() -> None:
    """Nothing is escaped in the quotes (the article on OBuilder's Docker backend)."""
    call = EngineCalled(("docker", "commit", '--change=CMD ["c:\\\\cmd.exe"]'))
    assert log_line(call) == (
        'obuild: [INFO] Exec "docker" "commit" "--change=CMD ["c:\\\\cmd.exe"]"'
    )
    assert log_line(EngineCalled((), answer="Untagged: a")) == "Untagged: a"
    assert log_line(EngineCalled((), "load a")) == "obuild: [INFO] # load a"


def test_for_a_shell() -> None:
    assert shell_line(EngineCalled(("docker", "run", "a b"))) == "docker run 'a b'"
    looked = EngineCalled(("docker", "images", "a-*"), "which are there?")
    assert shell_line(looked) == "docker images 'a-*'  # which are there?"
    assert shell_line(EngineCalled((), answer="Untagged: a")) == ""
    assert shell_line(EngineCalled(("docker", "\udcff"))) == "docker '\ufffd'"
