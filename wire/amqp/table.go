package amqp

// table maps small numbers, such as handles, to things. Numbers that are as low
// as peers usually choose them lie in a slice, others in a map, so that the
// memory follows the number of things and not the numbers.
type table[T any] struct {
	low   []*T
	high  map[uint32]*T
	n     int
	least uint32 // all numbers below are taken
}

// lows is how many numbers lie in the slice at most.
const lows = 256

func (t *table[T]) get(i uint32) *T {
	if i < uint32(len(t.low)) {
		return t.low[i]
	}
	return t.high[i]
}

// put sets number i, which must be free.
func (t *table[T]) put(i uint32, v *T) {
	t.n++
	// One number at a time: a slice is only as long as numbers before are taken.
	switch {
	case i < uint32(len(t.low)):
		t.low[i] = v
	case i == uint32(len(t.low)) && i < lows:
		t.low = append(t.low, v)
	default:
		if t.high == nil {
			t.high = make(map[uint32]*T)
		}
		t.high[i] = v
	}
}

func (t *table[T]) del(i uint32) {
	if t.get(i) == nil {
		return
	}
	t.n--
	t.least = min(t.least, i)
	if i < uint32(len(t.low)) {
		t.low[i] = nil
		return
	}
	delete(t.high, i)
}

// free returns the lowest number that is free.
func (t *table[T]) free() uint32 {
	for t.get(t.least) != nil {
		t.least++
	}
	return t.least
}

// all returns what is in the table.
func (t *table[T]) all() []*T {
	out := make([]*T, 0, t.n)
	for _, v := range t.low {
		if v != nil {
			out = append(out, v)
		}
	}
	for _, v := range t.high {
		out = append(out, v)
	}
	return out
}
