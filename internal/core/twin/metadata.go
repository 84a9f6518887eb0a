package twin

import (
	"bytes"
	"strconv"
	"time"
	"unicode/utf8"
)

// stamp is what $metadata says about a node.
type stamp struct {
	updated []byte // $lastUpdated, with quotes
	version int64  // $lastUpdatedVersion, 0 for none
}

// appendTime appends t the way the service writes it: UTC, seven digits of
// fraction.
func appendTime(dst []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(dst, `"2006-01-02T15:04:05.0000000Z"`)
}

// attach reads stored metadata into the nodes it speaks of. It was written in
// the order of the values, so a cursor finds nearly every node at once. Entries
// without a value are skipped.
func (t *tree) attach(s *scanner, at int32, depth int) error {
	if depth > maxNesting {
		return s.fail("nested too deeply")
	}
	if err := s.expect('{', "expected an object"); err != nil {
		return err
	}
	if s.peek() == '}' {
		s.i++
		return nil
	}
	cursor := t.nodes[at].first
	for {
		s.space()
		key, _, err := s.str()
		if err != nil {
			return err
		}
		if err := s.expect(':', "expected ':' after a name"); err != nil {
			return err
		}
		switch {
		case string(key) == "$lastUpdated":
			s.space()
			start := s.i
			if _, _, err := s.str(); err != nil {
				return err
			}
			t.nodes[at].updated = s.b[start:s.i]
		case string(key) == "$lastUpdatedVersion":
			s.space()
			num, _, err := s.number()
			if err != nil {
				return err
			}
			v, err := strconv.ParseInt(string(num), 10, 64)
			if err != nil {
				return s.fail("$lastUpdatedVersion is not an integer")
			}
			t.nodes[at].version = v
		default:
			if cursor == none || !bytes.Equal(t.nodes[cursor].key, key) {
				cursor = t.find(at, key)
			}
			if cursor == none {
				if err := s.skip(maxNesting); err != nil {
					return err
				}
				cursor = t.nodes[at].first
				break
			}
			if err := t.attach(s, cursor, depth+1); err != nil {
				return err
			}
			cursor = t.nodes[cursor].next
		}
		switch s.peek() {
		case ',':
			s.i++
		case '}':
			s.i++
			return nil
		default:
			return s.fail("expected ',' or '}'")
		}
	}
}

// appendMetadata appends the $metadata of the section under root after change c.
func (t *tree) appendMetadata(dst []byte, root int32, c Change) []byte {
	t.stamp = appendTime(t.stamp[:0], c.At)
	now := stamp{updated: t.stamp}
	if c.Section == Desired {
		now.version = c.Version
	}
	return t.appendStamped(dst, root, now, now)
}

// appendStamped appends the metadata of the node at i. A node that no stored
// metadata spoke of has the stamp that enclosed it before the change.
func (t *tree) appendStamped(dst []byte, i int32, now, around stamp) []byte {
	n := &t.nodes[i]
	before := around
	if n.updated != nil {
		before = stamp{n.updated, n.version}
	}
	own := before
	if n.fresh {
		own = now
	}
	dst = append(dst, `{"$lastUpdated":`...)
	dst = append(dst, own.updated...)
	if own.version != 0 {
		dst = append(dst, `,"$lastUpdatedVersion":`...)
		dst = appendInt(dst, own.version)
	}
	if n.kind == object {
		for c := n.first; c != none; c = t.nodes[c].next {
			child := &t.nodes[c]
			if child.gone {
				continue
			}
			dst = appendKey(dst, child.key, true)
			dst = t.appendStamped(dst, c, now, before)
		}
	}
	return append(dst, '}')
}

// textSize returns the computed size of a string: its bytes without control
// characters (U+0000–001F, U+007F–009F).
func textSize(inner []byte, escaped bool) int {
	if escaped {
		inner = unquote(nil, inner)
	}
	n := len(inner)
	for i := 0; i < len(inner); i++ {
		switch c := inner[i]; {
		case c < 0x20 || c == 0x7f:
			n--
		case c == 0xc2 && i+1 < len(inner) && inner[i+1] < 0xa0:
			n -= utf8.RuneLen(0x80)
			i++
		}
	}
	return n
}
