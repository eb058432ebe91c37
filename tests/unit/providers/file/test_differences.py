"""What files said then, and what they say now."""

from traefikee.config.documents import parse_document
from traefikee.providers.file.content import Content, read_content
from traefikee.providers.file.differences import file_differences

OLD = """\
[backends.app.servers.one]
url = "http://10.0.0.1"
[frontends.web]
backend = "app"
[frontends.web.auth.basic]
users = ["u:{SHA}b29vb29vb29vb29vb29vb29vb28="]
[frontends.web.routes.main]
rule = "Host:a.example"
[frontends.gone]
backend = "app"
[frontends.gone.routes.main]
rule = "Host:gone.example"
"""
NEW = """\
[backends.app.servers.one]
url = "http://10.0.0.1"
[backends.app.servers.two]
url = "http://10.0.0.2"
weight = 3
[frontends.web]
backend = "app"
[frontends.web.auth.basic]
users = ["u:{SHA}bm5ubm5ubm5ubm5ubm5ubm5ubm4="]
[frontends.web.routes.main]
rule = "Host:b.example"
[frontends.more]
backend = "app"
[frontends.more.routes.main]
rule = "Host:more.example"
"""
ROUTERS = """\
http:
  routers:
    web: {{rule: "Host(`a.example`)", service: app}}
  services:
    app: {{loadBalancer: {{servers: [{{url: "{url}"}}]}}}}
"""


def content(name: str, text: str) -> Content:
    def no_files(name: str) -> bytes:
        raise FileNotFoundError(name)

    return read_content([parse_document(name, text.encode())], no_files)


def lines(before: Content | None, after: Content | None) -> list[str]:
    return [change.sentence() for change in file_differences(before, after)]


def test_each_difference_has_its_file_and_line() -> None:
    told = lines(content("old.toml", OLD), content("new.toml", NEW))
    assert told == [
        "- frontends.gone: true [old.toml:9]",
        "+ frontends.more: true [new.toml:12]",
        "~ frontends.web.routes.main.rule: Host:a.example -> Host:b.example [new.toml:11]",
        "~ frontends.web.auth.basic.users: *** -> *** [new.toml:9]",
        "+ backends.app.servers.two.url: http://10.0.0.2 [new.toml:4]",
        "+ backends.app.servers.two.weight: 3 [new.toml:5]",
    ]


def test_names_are_those_of_the_file() -> None:
    before, after = (content("r.yaml", ROUTERS.format(url=f"http://10.0.0.{n}")) for n in (1, 2))
    (told,) = lines(before, after)
    assert told.startswith("~ http.services.app.servers.")
    assert "http://10.0.0.1 -> http://10.0.0.2 [r.yaml:5]" in told


def test_of_nothing_and_to_nothing() -> None:
    assert lines(None, None) == lines(content("a", OLD), content("b", OLD)) == []
    assert [line[0] for line in lines(None, content("a.toml", OLD))] == ["+"] * 3
    assert [line[0] for line in lines(content("a.toml", OLD), None)] == ["-"] * 3
