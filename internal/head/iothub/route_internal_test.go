package iothub

import (
	"net/url"
	"testing"
)

// TestMatchForgets checks that a pattern which fits but for the method leaves
// nothing behind: /devices/query is no device.
func TestMatchForgets(t *testing.T) {
	u, err := url.Parse("/devices/query")
	if err != nil {
		t.Fatal(err)
	}
	if r, p, _ := match("POST", u); r == nil || r.pattern != "/devices/query" || p != (params{}) {
		t.Errorf("route %+v with %+v", r, p)
	}
	if r, p, _ := match("GET", u); r == nil || p.device != "query" {
		t.Errorf("a device of that name: %+v with %+v", r, p)
	}
	if r, p, allow := match("PATCH", u); r != nil || p != (params{}) || len(allow) == 0 {
		t.Errorf("no such method: %+v with %+v, allowed %v", r, p, allow)
	}
}
