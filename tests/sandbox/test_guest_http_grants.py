"""Where the HTTP of guests may go: names that lie about where they lead, and redirects."""

from __future__ import annotations

from collections.abc import Sequence

import httpx2
import pytest
from sandbox_http import Guest, Names, Server, local, ok, redirect

from sandbox.grants import Grants, HostGrant
from sandbox.services.http import HttpService
from sandbox.services.request import Refusal


class TestAddresses:
    """Names that lead where nothing was granted."""

    @pytest.mark.parametrize(
        "address",
        [
            "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
            "100.64.0.1", "100.100.100.200", "0.0.0.0", "0.1.2.3", "224.0.0.1", "239.1.2.3",
            "255.255.255.255", "240.0.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.7",
            "203.0.113.9", "::", "::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1",
            "2001:db8::1", "2001::1", "3fff::1", "4000::1", "::ffff:127.0.0.1",
            "::ffff:169.254.169.254", "::127.0.0.1", "::8.8.8.8", "2002:7f00:1::",
            "2002:a00:1::1", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1",
            "fe80::1%eth0", "nonsense", "",
        ],
    )  # fmt: skip
    async def test_an_address_that_is_not_public_is_refused(self, address: str) -> None:
        """Alone and beside a public one; nothing is sent."""
        for answer in ([address], ["93.184.215.14", address]):
            names = Names({"rebind.test": [answer]}, [ok()])
            guest = names.guest(HostGrant("rebind.test"))
            error = await guest.refused("https://rebind.test/")
            assert error.code is Refusal.NOT_GRANTED
            assert names.sent == []
            assert [event.allowed for event in guest.events] == [False]

    @pytest.mark.parametrize(
        "address",
        ["93.184.215.14", "8.8.8.8", "2606:4700::1111", "64:ff9b::8.8.8.8", "2002:808:808::1"],
    )
    async def test_public_addresses_pass(self, address: str) -> None:
        """Also IPv4 through a translator."""
        names = Names({"api.test": [[address]]}, [ok()])
        assert (await names.guest(HostGrant("api.test")).ask("https://api.test/"))["body"] == "ok"
        assert names.sent[0][0] == address

    async def test_a_name_is_looked_up_once(self) -> None:
        """What it answers the second time does not matter: the connection goes to the first."""
        names = Names({"rebind.test": [["93.184.215.14"], ["127.0.0.1"]]}, [ok()])
        await names.guest(HostGrant("rebind.test")).ask("https://rebind.test/")
        assert names.asked == ["rebind.test"]
        assert names.sent[0][0] == "93.184.215.14"
        assert names.sent[0][1].headers["host"] == "rebind.test"

    async def test_a_name_that_was_not_granted_is_not_looked_up(self) -> None:
        """A question to a name server can carry data."""
        names = Names({}, [])
        error = await names.guest(HostGrant("api.test")).refused("https://secret.evil.test/")
        assert error.code is Refusal.NOT_GRANTED
        assert names.asked == []

    async def test_the_next_address_is_tried_when_one_does_not_connect(self) -> None:
        """At most four of them."""
        answer = [f"93.184.215.{n}" for n in range(1, 9)]
        names = Names({"api.test": [list(answer)]}, [httpx2.Response(599), ok()])
        assert (await names.guest(HostGrant("api.test")).ask("https://api.test/"))["body"] == "ok"
        assert [address for address, _ in names.sent] == answer[:2]
        names = Names({"api.test": [list(answer)]}, [httpx2.Response(599) for _ in answer])
        error = await names.guest(HostGrant("api.test")).refused("https://api.test/")
        assert error.code is Refusal.FAILED
        assert len(names.sent) == 4

    async def test_a_name_without_address_fails(self) -> None:
        """That is no refusal."""
        names = Names({}, [])
        error = await names.guest(HostGrant("api.test")).refused("https://api.test/")
        assert error.code is Refusal.FAILED
        assert "not found" in error.message

    @pytest.mark.parametrize(
        "url",
        [
            "http://2130706433/", "http://0x7f000001/", "http://0x7f.1/", "http://127.1/",
            "http://0177.0.0.1/", "http://127.0.0.1.:80x/", "http://127.0.0.0x1/",
            "http://[::ffff:127.0.0.1]/", "http://[::1]/", "http://127。0。0。1/", "http://127.0.0.1./",
            "http://[::ffff:7f00:1]/", "http://[fe80::1%25lo]/", "http://%31%32%37.0.0.1/",
            "http://①②⑦.⓪.⓪.①/",
        ],
    )  # fmt: skip
    async def test_no_spelling_of_the_loopback_gets_through(self, server: Server, url: str) -> None:
        """With every host granted: numbers, hex, octal, IPv6, other dots."""
        names = Names({}, [])
        guest = Guest(Grants(hosts=(HostGrant("*", scheme="*"),)), HttpService(send=names.send))
        error = await guest.refused(url)
        assert error.code in (Refusal.BAD_REQUEST, Refusal.NOT_GRANTED)
        assert names.sent == []

    async def test_private_is_a_grant_of_its_own(self) -> None:
        """For what the name leads to; never for multicast, and link-local only by its number."""
        names = Names(
            {
                "in.test": [
                    ["10.0.0.1"],
                    ["127.0.0.1"],
                    ["224.0.0.1"],
                    ["0.0.0.0"],
                    ["169.254.169.254"],
                ]
            },
            [ok(), ok()],
        )
        guest = names.guest(HostGrant("in.test", private=True), HostGrant("*", private=True))
        for _ in range(2):
            assert (await guest.ask("https://in.test/"))["status"] == 200
        for what in ("multicast", "of this network", "link-local"):
            error = await guest.refused("https://in.test/")
            assert error.code is Refusal.NOT_GRANTED
            assert what in error.message
        assert (await guest.refused("https://169.254.169.254/")).code is Refusal.NOT_GRANTED

    async def test_link_local_by_its_number(self) -> None:
        """The address itself, or a range of such addresses."""
        for pattern, allowed in (
            ("169.254.169.254", True), ("169.254.169.0/24", True), ("0.0.0.0/0", False),
        ):  # fmt: skip
            names = Names({}, [ok()])
            guest = names.guest(HostGrant(pattern, scheme="http", private=True))
            if allowed:
                assert (await guest.ask("http://169.254.169.254/"))["status"] == 200
            else:
                assert (await guest.refused("http://169.254.169.254/")).code is Refusal.NOT_GRANTED

    async def test_a_range_is_for_addresses_in_urls(self) -> None:
        """Not for names that resolve into it, which would mean asking for any name."""
        names = Names({"in.test": [["10.1.2.3"]]}, [ok()])
        guest = names.guest(HostGrant("10.0.0.0/8", scheme="*", private=True))
        assert (await guest.ask("http://10.1.2.3/"))["status"] == 200
        assert (await guest.refused("http://in.test/")).code is Refusal.NOT_GRANTED
        assert (await guest.refused("http://11.0.0.1/")).code is Refusal.NOT_GRANTED
        assert names.asked == []

    async def test_what_is_denied_is_denied(self) -> None:
        """By name before the lookup, by address after it, in every form of the address."""
        answers = [["93.184.215.14"], ["64:ff9b::93.184.215.14"], ["8.8.8.8"]]
        names = Names({"api.test": answers}, [ok()])
        guest = names.guest(HostGrant("*"), denied=("*.bad.test", "93.184.0.0/16"))
        assert (await guest.refused("https://very.bad.test/")).code is Refusal.NOT_GRANTED
        assert names.asked == []
        for _ in range(2):
            assert "denied" in (await guest.refused("https://api.test/")).message
        assert (await guest.ask("https://api.test/"))["status"] == 200


class TestAllowList:
    """Method, scheme, host and port."""

    @pytest.mark.parametrize(
        ("url", "method", "allowed"),
        [
            ("https://api.test/a", "GET", True),
            ("https://API.test./a", "GET", True),
            ("HTTPS://api.test:443/", "get", True),
            ("https://api.test/", "POST", False),
            ("http://api.test/", "GET", False),
            ("https://api.test:8443/", "GET", False),
            ("https://api.test:80/", "GET", False),
            ("https://sub.api.test/", "GET", False),
            ("https://evil.test/api.test", "GET", False),
            ("https://api.test.evil.test/", "GET", False),
            ("https://any.wild.test/", "DELETE", True),
            ("https://a.b.wild.test/", "GET", True),
            ("https://wild.test/", "GET", False),
            ("https://notwild.test/", "GET", False),
            ("http://plain.test:8080/", "GET", True),
            ("https://plain.test:8080/", "GET", False),
            ("https://bücher.test/", "GET", True),
            ("https://xn--bcher-kva.test/", "GET", True),
            ("https://BÜCHER.test/", "GET", True),
        ],
    )
    async def test_who_may_be_asked(self, url: str, method: str, allowed: bool) -> None:
        """The refusal names what is missing and never the path."""

        async def public(_host: str, _port: int) -> Sequence[str]:
            return ["93.184.215.14"]

        names = Names({}, [ok()])
        hosts = (
            HostGrant("Api.Test.", methods=frozenset({"GET"})),
            HostGrant("*.wild.test"),
            HostGrant("plain.test", 8080, "http"),
            HostGrant("bücher.test"),
        )
        guest = Guest(Grants(hosts=hosts), HttpService(resolver=public, send=names.send))
        if allowed:
            assert (await guest.ask(f"{url}?q=secret", method=method))["status"] == 200
        else:
            error = await guest.refused(f"{url}?q=secret", method=method)
            assert error.code is Refusal.NOT_GRANTED
            assert "secret" not in error.message
        assert [event.allowed for event in guest.events] == [allowed]
        assert "secret" not in guest.events[0].what + guest.events[0].reason

    async def test_without_a_grant_nothing_is_read(self) -> None:
        """The refusal says where to add one."""
        error = await Guest(Grants(), HttpService()).refused("https://api.test/")
        assert error.code is Refusal.NOT_GRANTED
        assert "permissions.network.allow" in error.message


class TestRedirects:
    """Each hop is a request of its own."""

    async def test_a_redirect_is_followed(self, server: Server) -> None:
        """Relative ones too; the final URL is told."""
        server.json("/a", "302 Found", location="/b?x=1")
        server.json("/b", "307 Temporary Redirect", location=f"http://localhost:{server.port}/c")
        server.json("/c")
        guest = local(server)
        found = await guest.ask(f"http://127.0.0.1:{server.port}/a")
        assert found["url"] == f"http://localhost:{server.port}/c"
        assert [event.what for event in guest.events] == [
            f"GET http://127.0.0.1:{server.port}",
            f"GET http://127.0.0.1:{server.port}",
            f"GET http://localhost:{server.port}",
        ]

    @pytest.mark.parametrize(
        "location",
        [
            "https://169.254.169.254/latest/meta-data", "https://[::1]/", "https://evil.test/",
            "https://inner.test/", "http://api.test/", "https://api.test:8443/", "//evil.test/x",
        ],
    )  # fmt: skip
    async def test_a_redirect_to_what_is_not_granted_ends(self, location: str) -> None:
        """By name, by address, by port, by leaving https."""
        answers = {"api.test": [["93.184.215.14"]] * 2, "inner.test": [["192.168.0.1"]]}
        names = Names(answers, [redirect(location), ok()])
        guest = names.guest(HostGrant("api.test", scheme="*"), HostGrant("inner.test"))
        error = await guest.refused("https://api.test/")
        assert error.code is Refusal.NOT_GRANTED
        assert len(names.sent) == 1
        assert [event.allowed for event in guest.events] == [True, False]

    async def test_leaving_https_can_be_granted(self) -> None:
        """By a grant that says http and means it."""
        names = Names({"api.test": [["93.184.215.14"]] * 2}, [redirect("http://api.test/"), ok()])
        guest = names.guest(HostGrant("api.test"), HostGrant("api.test", scheme="http"))
        assert (await guest.ask("https://api.test/"))["url"] == "http://api.test/"

    @pytest.mark.parametrize(
        "location", ["http://", "ftp://a/", "https://u:p@api.test/", "https://a b/", "https://1/"]
    )
    async def test_a_redirect_to_nonsense_fails(self, location: str) -> None:
        """Without quoting it."""
        names = Names({"api.test": [["93.184.215.14"]]}, [redirect(location)])
        error = await names.guest(HostGrant("*", scheme="*")).refused("https://api.test/")
        assert error.code is Refusal.FAILED
        assert "u:p" not in error.message

    async def test_five_redirects_and_no_more(self) -> None:
        """The sixth is an error."""
        for hops, works in ((5, True), (6, False)):
            names = Names(
                {"api.test": [["93.184.215.14"]] * 9}, [*(redirect("/") for _ in range(hops)), ok()]
            )
            guest = names.guest(HostGrant("api.test"))
            if works:
                assert (await guest.ask("https://api.test/"))["status"] == 200
            else:
                assert (await guest.refused("https://api.test/")).code is Refusal.FAILED

    async def test_credentials_stay_with_their_origin(self) -> None:
        """Of all headers only harmless ones cross; and none comes back later."""
        names = Names(
            {"api.test": [["93.184.215.14"]] * 3, "cdn.test": [["93.184.215.15"]]},
            [
                redirect("/again"),
                redirect("https://cdn.test/x"),
                redirect("https://api.test/"),
                ok(),
            ],
        )
        guest = names.guest(HostGrant("api.test"), HostGrant("cdn.test"))
        secret = {"Authorization": "Bearer s", "Cookie": "s", "X-Api-Key": "s", "Accept": "text/x"}
        await guest.ask("https://api.test/", headers=secret)
        kept = [
            {name for name in request.headers if request.headers[name] in ("s", "Bearer s")}
            for _, request in names.sent
        ]
        everything = {"authorization", "cookie", "x-api-key"}
        assert kept == [everything, everything, set(), set()]
        assert all(request.headers["accept"] == "text/x" for _, request in names.sent)

    @pytest.mark.parametrize(
        ("status", "method", "expected"),
        [
            (301, "POST", "GET"), (302, "POST", "GET"), (303, "POST", "GET"), (303, "PUT", "GET"),
            (303, "HEAD", "HEAD"), (307, "POST", "POST"), (308, "PUT", "PUT"), (301, "PUT", "PUT"),
        ],
    )  # fmt: skip
    async def test_methods_change_as_browsers_change_them(
        self, status: int, method: str, expected: str
    ) -> None:
        """The body goes with the method, and what described it."""
        names = Names({"api.test": [["93.184.215.14"]] * 2}, [redirect("/", status), ok()])
        await names.guest(HostGrant("api.test")).ask(
            "https://api.test/", method=method, body="x", headers={"Content-Type": "text/x"}
        )
        second = names.sent[1][1]
        assert second.method == expected
        assert ("content-type" in second.headers) == (expected == method)
        assert (second.content == b"x") == (expected == method)

    async def test_a_changed_method_is_checked_again(self) -> None:
        """A grant of POST is none of GET."""
        names = Names({"api.test": [["93.184.215.14"]] * 2}, [redirect("/", 303), ok()])
        guest = names.guest(HostGrant("api.test", methods=frozenset({"POST"})))
        assert (await guest.refused("https://api.test/", method="POST")).code is Refusal.NOT_GRANTED
