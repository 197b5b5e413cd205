from linkpeek.geometry import Extent, Size, Viewport
from linkpeek.services.keys import Meaning
from linkpeek.services.snapshots import Target
from linkpeek.views.orders import LONGEST, MOST, Order, Orders

TARGET = Target("http://a.example/", Viewport(1024, 768), Extent.VIEWPORT)
ORDER = Order("k", "t", Meaning("a.example", "336", "", ""), TARGET, TARGET.key, Size(336, None), None)


def test_a_query_is_remembered_to_the_letter():
    orders = Orders()
    orders.put("uri=a&token=t", ORDER)
    assert orders.get("uri=a&token=t") is ORDER
    assert orders.get("uri=a&token=T") is None


def test_memory_is_bounded():
    orders = Orders()
    for number in range(3 * MOST):
        orders.put(f"uri={number}", ORDER)
        assert len(orders._known) <= MOST
    assert orders.get(f"uri={3 * MOST - 1}") is ORDER
    orders.put("x" * (LONGEST + 1), ORDER)
    assert orders.get("x" * (LONGEST + 1)) is None
