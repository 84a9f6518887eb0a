package twin

import (
	"time"

	"github.com/causeway-iot/causeway"
)

// Adopt returns the metadata of section d with what given, a "$metadata" tree
// that was exported elsewhere, says of the values of d. Where given says nothing
// the metadata of d stays; entries of given without a value are skipped.
//
// Codes: DeserializationError (not such a tree), ArgumentInvalid (too large).
func Adopt(d Doc, given []byte, sec Section) ([]byte, error) {
	if len(given) > MaxPatch {
		return nil, causeway.Errorf(causeway.ArgumentInvalid, op, "%s: $metadata has %d bytes, at most %d are allowed", sec, len(given), MaxPatch)
	}
	t := newTree()
	defer t.free()
	root, err := t.stored(d)
	if err != nil {
		return nil, err
	}
	known := make([]stamp, len(t.nodes))
	for i := range t.nodes {
		known[i] = stamp{t.nodes[i].updated, t.nodes[i].version}
		t.nodes[i].updated, t.nodes[i].version = nil, 0
	}
	s := scanner{b: given}
	if err := t.attach(&s, root, 0); err != nil {
		return nil, causeway.Errorf(causeway.DeserializationError, op, "%s: $metadata is not a tree of $lastUpdated and $lastUpdatedVersion: %v", sec, err)
	}
	if s.space(); s.i < len(s.b) {
		return nil, causeway.Errorf(causeway.DeserializationError, op, "%s: text after the end of $metadata", sec)
	}
	for i := range t.nodes {
		n := &t.nodes[i]
		if n.updated == nil {
			n.updated, n.version = known[i].updated, known[i].version
			continue
		}
		at, err := time.Parse(`"`+time.RFC3339Nano+`"`, string(n.updated))
		at = at.UTC()
		if err != nil || at.Year() < 1 || at.Year() > 9999 || n.version < 0 {
			return nil, causeway.Errorf(causeway.DeserializationError, op, "%s: $metadata: %.40q is not an instant such as 2024-01-31T12:00:00Z, or its version is negative", sec, n.updated)
		}
		n.updated = appendTime(nil, at)
	}
	around := stamp{t.nodes[root].updated, t.nodes[root].version}
	if around.updated == nil {
		around.updated = appendTime(nil, time.Time{})
	}
	return t.appendStamped(nil, root, around, around), nil
}
