"""Queries with azure-iot-hub: item types, pages, tokens that serve again."""

import unittest

from azure.iot.hub.models import QuerySpecification, Twin
from msrest.exceptions import HttpOperationError

import world


def query(text, token=None, top=None):
    return world.service.query_iot_hub(QuerySpecification(query=text), token, top)


class Query(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.run_id = world.unique("run")
        cls.where = f"where tags.run = '{cls.run_id}'"
        cls.ids = sorted(world.create_device("query").device_id for _ in range(5))
        for n, d in enumerate(cls.ids):
            world.service.update_twin(d, Twin(tags={"run": cls.run_id, "n": n}))
        world.registry.create_module_with_sas(cls.ids[0], "m1", "", "", "")

    def test_pages(self):
        pages = [query(f"select * from devices {self.where}", None, 2)]
        while pages[-1].continuation_token:
            pages.append(query(f"select * from devices {self.where}", pages[-1].continuation_token, 2))
        self.assertEqual([(r.type, len(r.items)) for r in pages], [("Twin", 2), ("Twin", 2), ("Twin", 1)])
        self.assertEqual(sorted(t.device_id for r in pages for t in r.items), self.ids)
        again = query(f"select * from devices {self.where}", pages[0].continuation_token, 10)
        self.assertEqual((len(again.items), again.continuation_token), (3, None))

    def test_types(self):
        r = query(f"select * from devices.modules where deviceId = '{self.ids[0]}'")
        self.assertEqual([t.module_id for t in r.items], ["m1"])
        r = query(f"select count() as n from devices {self.where}")
        self.assertEqual((r.type, [x.additional_properties for x in r.items]), ("Raw", [{"n": 5}]))
        r = query(f"select tags.n from devices {self.where} and tags.n in [1, 3]")
        self.assertEqual(sorted(x.additional_properties["n"] for x in r.items), [1, 3])

    def test_wrong(self):
        with self.assertRaises(HttpOperationError) as caught:
            query("select * from devices where")
        self.assertEqual(caught.exception.response.status_code, 400)
        self.assertIn("column", caught.exception.response.text)


if __name__ == "__main__":
    unittest.main()
