// Package twin changes twin documents: it merges patches into a section, or
// replaces it, keeps $metadata beside the values, and holds both to the limits
// of the IoT Hub protocol. It renders the device's and the service's view.
//
// It is pure. A section is handed in as JSON text and comes back as JSON text;
// who stores it, counts versions and tells devices is not known here. Numbers
// keep the text they were written in, members the order they arrived in.
//
// Incoming text is read strictly: RFC 8259, UTF-8 only, no lone surrogates. Of
// members that share a name the last wins, as in the service's own parser, and
// no trace of the others is kept.
package twin

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/causeway-iot/causeway"
)

// Limits of this package beside those of the protocol (causeway.MaxTwin…).
// They bound what the computed size does not: "{}" in an array counts nothing.
const (
	MaxPatch       = 256 << 10 // bytes of an incoming document
	MaxSectionText = 256 << 10 // bytes of a section's values as JSON text
	MaxNumber      = 128       // characters of a number
	maxNesting     = 64        // containers in ignored and stored text
)

// Section is a part of a twin.
type Section uint8

// The sections. Tags have no metadata and no version.
const (
	Tags Section = iota
	Desired
	Reported
)

// String returns the name of the section as it stands in a twin.
func (s Section) String() string {
	switch s {
	case Tags:
		return "tags"
	case Desired:
		return "desired"
	default:
		return "reported"
	}
}

// limit returns the computed size a section may have.
func (s Section) limit() int {
	if s == Tags {
		return causeway.MaxTwinTags
	}
	return causeway.MaxTwinSection
}

// Doc is a section as it is stored: its values without "$" members, and the
// $metadata tree beside them. Both are compact JSON objects; empty text counts
// as an empty object.
type Doc struct {
	Properties []byte
	Metadata   []byte
}

// Change says which section changes, and what is stamped on what changed.
type Change struct {
	Section Section
	Version int64     // the section's new $version; not used for tags
	At      time.Time // $lastUpdated
}

// Result is a changed section. It shares no memory with what it was made from.
type Result struct {
	Doc
	// Delta is the change as a merge patch without "$version": of [Merge] the
	// accepted patch, of [Replace] what brings the old section to the new one.
	Delta []byte
}

// Merge merges patch, a JSON merge patch (RFC 7396), into old. It stamps every
// member that patch names, and all that enclose one.
//
// Codes: DeserializationError (not a JSON object), ArgumentInvalid (a limit);
// the message says where and which. A malformed old is an error without code.
func Merge(old Doc, patch []byte, c Change) (Result, error) {
	t := newTree()
	defer t.free()
	root, err := t.stored(old)
	if err != nil {
		return Result{}, fmt.Errorf("read the stored %s section: %w", c.Section, err)
	}
	src, err := t.incoming(patch, c.Section)
	if err != nil {
		return Result{}, err
	}
	t.merge(root, src)
	return t.result(root, c, src, none)
}

// Replace puts value in the place of old. Members that are null are left out.
// Errors are those of [Merge].
func Replace(old Doc, value []byte, c Change) (Result, error) {
	t := newTree()
	defer t.free()
	was, err := t.stored(old)
	if err != nil {
		return Result{}, fmt.Errorf("read the stored %s section: %w", c.Section, err)
	}
	src, err := t.incoming(value, c.Section)
	if err != nil {
		return Result{}, err
	}
	root := t.add(node{kind: object, first: none, last: none, next: none})
	t.merge(root, src)
	return t.result(root, c, src, was)
}

// result checks and renders the section under root, which src made. Was is the
// section it replaces, none when src was merged.
func (t *tree) result(root int32, c Change, src, was int32) (Result, error) {
	if size, limit := t.size(root), c.Section.limit(); size > limit {
		return Result{}, causeway.Errorf(causeway.ArgumentInvalid, op,
			"%s: the section would have %d bytes, at most %d are allowed", c.Section, size, limit)
	}
	out := t.out[:0]
	out = t.appendValue(out, root, false)
	props := len(out)
	if props > MaxSectionText {
		return Result{}, causeway.Errorf(causeway.ArgumentInvalid, op,
			"%s: the section would have %d bytes of JSON, at most %d are allowed", c.Section, props, MaxSectionText)
	}
	if c.Section != Tags {
		out = t.appendMetadata(out, root, c)
	}
	meta := len(out)
	if was == none {
		out = t.appendValue(out, src, true)
	} else {
		out = t.appendDiff(out, was, root)
	}
	t.out = out

	own := make([]byte, len(out)) // one allocation for all three
	copy(own, out)
	return Result{
		Doc:   Doc{Properties: own[:props:props], Metadata: own[props:meta:meta]},
		Delta: own[meta:],
	}, nil
}

// NewMetadata returns the $metadata of a section that was never written.
func NewMetadata(at time.Time) []byte {
	b := append([]byte(nil), `{"$lastUpdated":`...)
	return append(appendTime(b, at), '}')
}

// Size returns the computed size of a section, the one the limits count: names
// and strings by their bytes of UTF-8, strings without control characters,
// numbers 8, booleans 4, containers the sum of what they hold.
func Size(properties []byte) (int, error) {
	t := newTree()
	defer t.free()
	root, err := t.stored(Doc{Properties: properties})
	if err != nil {
		return 0, err
	}
	return t.size(root), nil
}

// AppendVersioned appends to dst the object properties with a last member
// "$version": the form of a section in the device's view, and of a change.
func AppendVersioned(dst, properties []byte, version int64) []byte {
	dst = appendOpen(dst, properties)
	dst = append(dst, `"$version":`...)
	dst = appendInt(dst, version)
	return append(dst, '}')
}

// AppendService appends to dst the section d as a service sees it, with
// "$metadata" and "$version".
func AppendService(dst []byte, d Doc, version int64) []byte {
	dst = appendOpen(dst, d.Properties)
	dst = append(dst, `"$metadata":`...)
	if len(d.Metadata) == 0 {
		dst = append(dst, "{}"...)
	} else {
		dst = append(dst, d.Metadata...)
	}
	dst = append(dst, `,"$version":`...)
	dst = appendInt(dst, version)
	return append(dst, '}')
}

// appendOpen appends a compact object without its closing brace, ready for one
// more member.
func appendOpen(dst, properties []byte) []byte {
	if len(properties) <= len("{}") {
		return append(dst, '{')
	}
	dst = append(dst, properties[:len(properties)-1]...)
	return append(dst, ',')
}

// ETagText returns the text of a twin's etag: base64 of the counter in eight
// bytes, most significant first. 1 is "AAAAAAAAAAE=".
func ETagText(n int64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	return base64.StdEncoding.EncodeToString(b[:])
}

// ParseETag is the reverse of [ETagText].
func ParseETag(s string) (n int64, ok bool) {
	var b [9]byte // 12 characters decode to 9 bytes before padding is known
	if len(s) != 12 {
		return 0, false
	}
	k, err := base64.StdEncoding.Strict().Decode(b[:], []byte(s))
	if err != nil || k != 8 {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(b[:])), true
}
