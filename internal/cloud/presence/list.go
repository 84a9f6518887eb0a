package presence

import (
	"cmp"
	"slices"

	"github.com/causeway-iot/causeway"
)

// Connected returns up to limit connected devices, or modules, in the byte
// order of their ids, from the first beyond after; its hub does not count. It
// takes memory for a few times limit, however many are connected.
func (t *Table[H]) Connected(modules bool, after causeway.Identity, limit int) []causeway.Identity {
	if limit <= 0 {
		return nil
	}
	from := keyOf(after)
	var ids []causeway.Identity
	bound := key{} // once limit are known: no later one is wanted
	full := false
	cut := func() {
		slices.SortFunc(ids, func(a, b causeway.Identity) int { return keyOf(a).compare(keyOf(b)) })
		if len(ids) >= limit {
			ids = ids[:limit]
			bound, full = keyOf(ids[limit-1]), true
		}
	}
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		for k, h := range s.holders {
			if (k.module != "") != modules || k.compare(from) <= 0 || full && k.compare(bound) >= 0 {
				continue
			}
			ids = append(ids, h.Identity())
			if len(ids) >= 3*limit {
				cut()
			}
		}
		s.mu.RUnlock()
	}
	cut()
	return ids
}

func (k key) compare(l key) int {
	return cmp.Or(cmp.Compare(k.device, l.device), cmp.Compare(k.module, l.module))
}
