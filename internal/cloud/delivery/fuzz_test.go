package delivery

import (
	"testing"

	"github.com/causeway-iot/causeway"
)

// What is read of a record never panics, and what was written is read again.
func FuzzRecords(f *testing.F) {
	m := causeway.Message{From: causeway.Identity{Device: "a"}, Body: []byte("x")}
	f.Add(appendQueued(nil, 300, &m))
	f.Add(appendDead(nil, obituary{"web", ReasonRefused, "why", 3}, &m))
	f.Add([]byte{recordVersion, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, body, err := queued(b); err == nil {
			_, _ = decodeMessage("hub", body)
		}
		o, m, err := decodeDead("hub", b)
		if err != nil {
			return
		}
		again, n, err := decodeDead("hub", appendDead(nil, o, &m))
		if err != nil || again != o || string(n.Body) != string(m.Body) {
			t.Errorf("%+v was read again as %+v: %v", o, again, err)
		}
	})
}
