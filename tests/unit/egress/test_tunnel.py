"""A tunnel's two sides, on transports that only note what is asked of them."""

import asyncio
from unittest.mock import create_autospec

from linkpeek.egress.tunnel import Keeper, Tunnel, Upstream


def test_a_server_is_not_read_from_before_the_browser_has_its_answer() -> None:
    """Else the first words of one that speaks first could come before the SOCKS reply."""

    async def scenario() -> None:
        keeper = create_autospec(Keeper, instance=True)
        tunnel, browser, server = Tunnel(keeper), *(create_autospec(asyncio.Transport) for _ in range(2))
        tunnel.connection_made(browser)
        Upstream(tunnel, keeper).connection_made(server)
        assert server.mock_calls[0][0] == "pause_reading"

    asyncio.run(scenario())


def test_a_connection_too_many_is_cut_at_once() -> None:
    async def scenario() -> None:
        keeper, browser = create_autospec(Keeper, instance=True), create_autospec(asyncio.Transport)
        keeper.opened.return_value = False
        Tunnel(keeper).connection_made(browser)
        browser.abort.assert_called_once_with()

    asyncio.run(scenario())
