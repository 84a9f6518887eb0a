package twin

import (
	"bytes"
	"hash/maphash"
	"math/bits"
	"strconv"
	"sync"
)

// kind is what a node holds.
type kind uint8

const (
	object kind = iota
	array
	text    // a string
	number  // its text as written
	boolean // true or false
	null    // in a patch only
)

// none is the index of no node.
const none int32 = -1

// node is a value of a document. Children of objects and arrays form a list;
// nodes name each other by index, so that a tree is one slice and no garbage.
type node struct {
	key    []byte // JSON text between the quotes, in canonical form: equal names, equal bytes
	value  []byte // JSON text of a string (without quotes), number or boolean
	kind   kind
	gone   bool // deleted by a patch
	fresh  bool // named by a patch: gets a new stamp
	escape bool // value has escape sequences

	first, last, next int32
	count             int32 // children, gone ones too

	updated []byte // $lastUpdated as stored, with quotes; nil when unknown
	version int64  // $lastUpdatedVersion, 0 when absent
}

// tree owns the nodes of the documents of one operation and scratch space.
type tree struct {
	nodes []node
	path  []step
	keys  []byte // canonical keys that differ from what was written
	seen  index  // names of one wide object
	out   []byte
	stamp []byte
}

// What a tree may keep when it goes back to the pool.
const (
	maxPooledNodes = 8 << 10
	maxPooledBytes = 256 << 10
)

var trees = sync.Pool{New: func() any { return new(tree) }}

func newTree() *tree { return trees.Get().(*tree) }

// free gives the tree back. No node may be used afterwards.
func (t *tree) free() {
	if cap(t.nodes) > maxPooledNodes || cap(t.out) > maxPooledBytes || cap(t.keys) > maxPooledBytes {
		return
	}
	clear(t.nodes) // they hold the caller's text
	t.nodes, t.path, t.keys, t.out = t.nodes[:0], t.path[:0], t.keys[:0], t.out[:0]
	trees.Put(t)
}

// add puts n into the tree.
func (t *tree) add(n node) int32 {
	t.nodes = append(t.nodes, n)
	return int32(len(t.nodes) - 1)
}

// link appends child to the list of parent.
func (t *tree) link(parent, child int32) {
	p := &t.nodes[parent]
	if p.first == none {
		p.first = child
	} else {
		t.nodes[p.last].next = child
	}
	p.last = child
	p.count++
}

// Objects with more children than this are searched through an index.
const wide = 16

// find returns the child of an object by name.
func (t *tree) find(parent int32, key []byte) int32 {
	for i := t.nodes[parent].first; i != none; i = t.nodes[i].next {
		if n := &t.nodes[i]; !n.gone && bytes.Equal(n.key, key) {
			return i
		}
	}
	return none
}

// index finds children of one object by name: a hash table with open addressing
// whose slots hold node numbers plus one. Its length is a power of two, at
// least twice the number of children.
type index []int32

// seed makes the names that collide differ from process to process.
var seed = maphash.MakeSeed()

// newIndex returns an empty index for n children, in the space of old if that
// is large enough.
func newIndex(n int32, old index) index {
	size := 1 << bits.Len(uint(2*n))
	if cap(old) < size {
		return make(index, size)
	}
	old = old[:size]
	clear(old)
	return old
}

// slot returns the slot of key: that of the node with this name, or a free one.
func (x index) slot(t *tree, key []byte) *int32 {
	mask := uint64(len(x) - 1)
	for at := maphash.Bytes(seed, key) & mask; ; at = (at + 1) & mask {
		if x[at] == 0 || bytes.Equal(t.nodes[x[at]-1].key, key) {
			return &x[at]
		}
	}
}

// index returns an index of the children of parent when it is wide and will be
// asked often, and nil when a search does as well. See lookup.
func (t *tree) index(parent int32, lookups int32) index {
	if t.nodes[parent].count <= wide || lookups <= wide {
		return nil
	}
	x := newIndex(t.nodes[parent].count, nil)
	for i := t.nodes[parent].first; i != none; i = t.nodes[i].next {
		*x.slot(t, t.nodes[i].key) = i + 1
	}
	return x
}

// lookup is find through an index, which may be nil. An index does not know of
// children that came after it was made.
func (t *tree) lookup(x index, parent int32, key []byte) int32 {
	if x == nil {
		return t.find(parent, key)
	}
	if i := *x.slot(t, key) - 1; i >= 0 && !t.nodes[i].gone {
		return i
	}
	return none
}

// unique drops all but the last of the children of an object that share a name.
// The survivor stands where the first stood.
func (t *tree) unique(parent int32) {
	p := t.nodes[parent]
	if p.count < 2 {
		return
	}
	if p.count > wide {
		t.seen = newIndex(p.count, t.seen)
	}
	prev := none
	for i := p.first; i != none; i = t.nodes[i].next {
		n := &t.nodes[i]
		earlier := none
		if p.count > wide {
			slot := t.seen.slot(t, n.key)
			earlier = *slot - 1
			if earlier == none {
				*slot = i + 1
			}
		} else {
			for j := p.first; j != i; j = t.nodes[j].next {
				if bytes.Equal(t.nodes[j].key, n.key) {
					earlier = j
					break
				}
			}
		}
		if earlier == none {
			prev = i
			continue
		}
		e := &t.nodes[earlier]
		next := e.next
		*e = *n
		e.next = next
		t.nodes[prev].next = n.next
		q := &t.nodes[parent]
		q.count--
		if q.last == i {
			q.last = prev
		}
	}
}

// merge merges the object src of a patch into the object dst.
func (t *tree) merge(dst, src int32) {
	t.nodes[dst].fresh = true
	index := t.index(dst, t.nodes[src].count)
	for i := t.nodes[src].first; i != none; i = t.nodes[i].next {
		n := t.nodes[i] // a copy: adding nodes moves them
		at := t.lookup(index, dst, n.key)
		if n.kind == null {
			if at != none {
				t.nodes[at].gone = true
			}
			continue
		}
		if at == none {
			at = t.add(node{key: n.key, kind: null, first: none, last: none, next: none})
			t.link(dst, at)
		}
		d := &t.nodes[at]
		d.fresh = true
		if n.kind != object {
			d.kind, d.value, d.escape = n.kind, n.value, n.escape
			d.first, d.last, d.count = n.first, n.last, n.count // items are shared: nobody changes them
			continue
		}
		if d.kind != object {
			d.kind, d.value = object, nil
			d.first, d.last, d.count = none, none, 0
		}
		t.merge(at, i)
	}
}

// size returns the computed size of the value at i without its own name.
func (t *tree) size(i int32) (sum int) {
	switch n := &t.nodes[i]; n.kind {
	case object, array:
		for c := n.first; c != none; c = t.nodes[c].next {
			child := &t.nodes[c]
			if child.gone {
				continue
			}
			sum += len(child.key) - countEscapes(child.key) + t.size(c)
		}
	case text:
		sum = textSize(n.value, n.escape)
	case number:
		sum = 8
	case boolean:
		sum = 4
	}
	return sum
}

// appendValue appends the value at i as compact JSON. Null members are part of
// a patch only.
func (t *tree) appendValue(dst []byte, i int32, nulls bool) []byte {
	n := &t.nodes[i]
	switch n.kind {
	case object:
		dst = append(dst, '{')
		sep := false
		for c := n.first; c != none; c = t.nodes[c].next {
			child := &t.nodes[c]
			if child.gone || child.kind == null && !nulls {
				continue
			}
			dst = appendKey(dst, child.key, sep)
			dst = t.appendValue(dst, c, nulls)
			sep = true
		}
		return append(dst, '}')
	case array:
		dst = append(dst, '[')
		for c := n.first; c != none; c = t.nodes[c].next {
			if c != n.first {
				dst = append(dst, ',')
			}
			dst = t.appendValue(dst, c, nulls)
		}
		return append(dst, ']')
	case text:
		dst = append(dst, '"')
		dst = append(dst, n.value...)
		return append(dst, '"')
	case null:
		return append(dst, "null"...)
	default:
		return append(dst, n.value...)
	}
}

// appendDiff appends the merge patch that brings the object was to now: what is
// gone as null, and every value that is there.
func (t *tree) appendDiff(dst []byte, was, now int32) []byte {
	dst = append(dst, '{')
	sep := false
	index := t.index(was, t.nodes[now].count)
	for c := t.nodes[now].first; c != none; c = t.nodes[c].next {
		child := &t.nodes[c]
		dst = appendKey(dst, child.key, sep)
		sep = true
		if old := t.lookup(index, was, child.key); child.kind == object && old != none && t.nodes[old].kind == object {
			dst = t.appendDiff(dst, old, c)
		} else {
			dst = t.appendValue(dst, c, false)
		}
	}
	index = t.index(now, t.nodes[was].count)
	for c := t.nodes[was].first; c != none; c = t.nodes[c].next {
		if key := t.nodes[c].key; t.lookup(index, now, key) == none {
			dst = appendKey(dst, key, sep)
			dst = append(dst, "null"...)
			sep = true
		}
	}
	return append(dst, '}')
}

func appendKey(dst, key []byte, sep bool) []byte {
	if sep {
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = append(dst, key...)
	return append(dst, '"', ':')
}

func appendInt(dst []byte, n int64) []byte { return strconv.AppendInt(dst, n, 10) }
