package twin

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/causeway-iot/causeway"
)

const op = "twin"

// step is one step of the path to a value, for messages.
type step struct {
	key  []byte // nil for an item of an array
	item int
}

// parser reads one document into a tree.
type parser struct {
	scanner
	t       *tree
	section Section
	strict  bool // incoming: limits hold, "$" members at the top are skipped
}

// stored reads what this package wrote earlier. Limits are not checked again:
// they may have been others then.
func (t *tree) stored(d Doc) (root int32, err error) {
	root = t.add(node{kind: object, first: none, last: none, next: none})
	if len(d.Properties) > 0 {
		p := parser{scanner: scanner{b: d.Properties}, t: t}
		if err := p.document(root); err != nil {
			return none, fmt.Errorf("properties: %w", err)
		}
	}
	if len(d.Metadata) > 0 {
		s := scanner{b: d.Metadata}
		if err := t.attach(&s, root, 0); err != nil {
			return none, fmt.Errorf("metadata: %w", err)
		}
	}
	return root, nil
}

// incoming reads a document of a client.
func (t *tree) incoming(doc []byte, sec Section) (root int32, err error) {
	if len(doc) > MaxPatch {
		return none, causeway.Errorf(causeway.ArgumentInvalid, op, "%s: the document has %d bytes, at most %d are allowed", sec, len(doc), MaxPatch)
	}
	p := parser{scanner: scanner{b: doc}, t: t, section: sec, strict: true}
	if c := p.peek(); c != '{' {
		if err := p.skip(maxNesting); err != nil {
			return none, p.explain(err)
		}
		return none, causeway.Errorf(causeway.DeserializationError, op, "%s: expected a JSON object", sec)
	}
	root = t.add(node{kind: object, first: none, last: none, next: none})
	if err := p.document(root); err != nil {
		return none, p.explain(err)
	}
	return root, nil
}

// explain makes a syntax error one for the client.
func (p *parser) explain(err error) error {
	if syn, ok := errors.AsType[*syntaxError](err); ok {
		return causeway.Errorf(causeway.DeserializationError, op, "%s: invalid JSON at byte %d: %s", p.where(), syn.at, syn.what)
	}
	return err
}

func (p *parser) document(root int32) error {
	p.t.path = p.t.path[:0]
	if p.peek() != '{' {
		return p.fail("expected an object")
	}
	if err := p.object(root, 0); err != nil {
		return err
	}
	p.space()
	if p.i < len(p.b) {
		return p.fail("text after the end of the document")
	}
	return nil
}

// object reads the members of an object that is depth levels below the section.
// The path is left standing on an error, for its message.
func (p *parser) object(at int32, depth int) error {
	p.i++ // {
	if p.peek() == '}' {
		p.i++
		return nil
	}
	for {
		p.space()
		inner, escaped, err := p.str()
		if err != nil {
			return err
		}
		if err := p.expect(':', "expected ':' after a name"); err != nil {
			return err
		}
		if p.strict && depth == 0 && p.ignored(inner) {
			if err := p.skip(maxNesting); err != nil {
				return err
			}
		} else {
			key, err := p.key(inner, escaped)
			if err != nil {
				return err
			}
			p.t.path = append(p.t.path, step{key: key})
			child := p.t.add(node{key: key, first: none, last: none, next: none})
			p.t.link(at, child)
			if err := p.value(child, depth, false); err != nil {
				return err
			}
			p.t.path = p.t.path[:len(p.t.path)-1]
		}
		switch p.peek() {
		case ',':
			p.i++
		case '}':
			p.i++
			if p.strict {
				p.t.unique(at)
			}
			return nil
		default:
			return p.fail("expected ',' or '}'")
		}
	}
}

// ignored reports whether a member at the top of a section is one that clients
// send back as they got it.
func (p *parser) ignored(key []byte) bool {
	switch string(key) {
	case "$metadata", "$version":
		return true
	case "$etag":
		return p.section == Tags
	}
	return false
}

// value reads any value into the node at. Depth is that of the object or array
// around it.
func (p *parser) value(at int32, depth int, inArray bool) (err error) {
	n := &p.t.nodes[at]
	switch p.peek() {
	case '{':
		n.kind = object
		if err := p.deeper(depth + 1); err != nil {
			return err
		}
		return p.object(at, depth+1)
	case '[':
		n.kind = array
		if inArray { // an array that is a member is a leaf of its object's level
			depth++
		}
		if err := p.deeper(depth); err != nil {
			return err
		}
		return p.array(at, depth)
	case '"':
		n.kind = text
		n.value, n.escape, err = p.str()
		if err == nil && p.strict && len(n.value) > causeway.MaxTwinString {
			err = p.checkString(n.value)
		}
		return err
	case 't':
		n.kind = boolean
		n.value, err = p.literal("true")
		return err
	case 'f':
		n.kind = boolean
		n.value, err = p.literal("false")
		return err
	case 'n':
		n.kind = null
		if _, err = p.literal("null"); err == nil && p.strict && p.arrayInPath() {
			err = p.refuse("null is not allowed inside an array")
		}
		return err
	default:
		n.kind = number
		var integer bool
		n.value, integer, err = p.number()
		if err == nil && p.strict {
			err = p.checkNumber(n.value, integer)
		}
		return err
	}
}

func (p *parser) array(at int32, depth int) error {
	p.i++ // [
	if p.peek() == ']' {
		p.i++
		return nil
	}
	for item := 0; ; item++ {
		p.t.path = append(p.t.path, step{item: item})
		child := p.t.add(node{first: none, last: none, next: none})
		p.t.link(at, child)
		if err := p.value(child, depth, true); err != nil {
			return err
		}
		p.t.path = p.t.path[:len(p.t.path)-1]
		switch p.peek() {
		case ',':
			p.i++
		case ']':
			p.i++
			return nil
		default:
			return p.fail("expected ',' or ']'")
		}
	}
}

// deeper checks the depth of a container before it is entered.
func (p *parser) deeper(depth int) error {
	if !p.strict {
		if depth > maxNesting {
			return p.fail("nested too deeply")
		}
		return nil
	}
	if depth > causeway.MaxTwinDepth {
		return p.refuse("nested more than %d levels deep", causeway.MaxTwinDepth)
	}
	return nil
}

func (p *parser) arrayInPath() bool {
	for _, s := range p.t.path {
		if s.key == nil {
			return true
		}
	}
	return false
}

// key returns the canonical form of a name and checks it.
func (p *parser) key(inner []byte, escaped bool) ([]byte, error) {
	if !p.strict {
		return inner, nil // canonical already
	}
	plain := inner
	if escaped {
		plain = unquote(nil, inner)
	}
	if len(plain) > causeway.MaxTwinKey {
		return nil, p.refuse("key %s has %d bytes, at most %d are allowed", quote(plain), len(plain), causeway.MaxTwinKey)
	}
	for i, c := range plain {
		switch {
		case c == '.' || c == '$' || c == ' ':
			return nil, p.refuse("key %s contains %q; keys may not contain '.', '$', spaces or control characters", quote(plain), c)
		case c < 0x20 || c == 0x7f || c == 0xc2 && plain[i+1] < 0xa0:
			return nil, p.refuse("key %s contains a control character; keys may not contain '.', '$', spaces or control characters", quote(plain))
		}
	}
	if !escaped {
		return inner, nil
	}
	from := len(p.t.keys)
	for _, c := range plain {
		if c == '"' || c == '\\' {
			p.t.keys = append(p.t.keys, '\\')
		}
		p.t.keys = append(p.t.keys, c)
	}
	return p.t.keys[from:len(p.t.keys):len(p.t.keys)], nil
}

// countEscapes returns how many bytes the quoting of a canonical key takes.
func countEscapes(key []byte) (n int) {
	for i := bytes.IndexByte(key, '\\'); i >= 0 && i < len(key); i++ {
		if key[i] == '\\' {
			n++
			i++ // the escaped character, itself perhaps a backslash
		}
	}
	return n
}

func (p *parser) checkString(inner []byte) error {
	if n := len(unquote(nil, inner)); n > causeway.MaxTwinString {
		return p.refuse("the string has %d bytes, at most %d are allowed", n, causeway.MaxTwinString)
	}
	return nil
}

func (p *parser) checkNumber(num []byte, integer bool) error {
	if len(num) > MaxNumber {
		return p.refuse("the number has %d characters, at most %d are allowed", len(num), MaxNumber)
	}
	if !integer {
		if _, err := strconv.ParseFloat(string(num), 64); err != nil {
			return p.refuse("number %s is out of the range of a double", num)
		}
		return nil
	}
	if len(num) < len("4503599627370495") {
		return nil
	}
	if n, err := strconv.ParseInt(string(num), 10, 64); err != nil || n < causeway.MinTwinInteger || n > causeway.MaxTwinInteger {
		return p.refuse("integer %s is out of range, it must be between %d and %d", num, int64(causeway.MinTwinInteger), int64(causeway.MaxTwinInteger))
	}
	return nil
}

// refuse says which limit a client broke, and where.
func (p *parser) refuse(format string, args ...any) error {
	return causeway.Errorf(causeway.ArgumentInvalid, op, "%s: %s", p.where(), fmt.Sprintf(format, args...))
}

// Messages show this much of a path and of a key.
const (
	maxShownPath = 256
	maxShownKey  = 64
)

// where returns the path to the value being read, e.g. desired.a.b[3].
func (p *parser) where() string {
	var b strings.Builder
	b.WriteString(p.section.String())
	for _, s := range p.t.path {
		if b.Len() > maxShownPath {
			b.WriteString("…")
			break
		}
		if s.key == nil {
			fmt.Fprintf(&b, "[%d]", s.item)
			continue
		}
		b.WriteByte('.')
		b.Write(shorten(s.key))
	}
	return b.String()
}

func quote(key []byte) string { return strconv.Quote(string(shorten(key))) }

// shorten cuts a key to what a message shows, between characters.
func shorten(key []byte) []byte {
	if len(key) <= maxShownKey {
		return key
	}
	n := maxShownKey
	for n > 0 && !utf8.RuneStart(key[n]) {
		n--
	}
	return append(key[:n:n], "…"...)
}
