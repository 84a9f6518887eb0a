package blob

import (
	"maps"
	"slices"
	"time"
)

// Kind says how a blob may be written.
type Kind uint8

// The kinds.
const (
	Block  Kind = iota // as a whole, or of blocks
	Append             // at its end
)

// String returns the kind as the Blob service names it.
func (k Kind) String() string {
	if k == Append {
		return "AppendBlob"
	}
	return "BlockBlob"
}

// Properties are what is kept with a blob for those who read it. They do not
// change what the bytes are.
type Properties struct {
	ContentType        string
	ContentEncoding    string
	ContentLanguage    string
	ContentDisposition string
	CacheControl       string
	MD5                []byte            // of the content, as claimed or, by Put, computed; nil when unknown
	Metadata           map[string]string // names in lower case
}

// Clone returns a copy that shares no memory with p.
func (p Properties) Clone() Properties {
	p.MD5, p.Metadata = slices.Clone(p.MD5), maps.Clone(p.Metadata)
	return p
}

// size is what the properties take, in bytes, roughly.
func (p Properties) size() int {
	n := len(p.ContentType) + len(p.ContentEncoding) + len(p.ContentLanguage) + len(p.ContentDisposition) + len(p.CacheControl) + len(p.MD5)
	for k, v := range p.Metadata {
		n += len(k) + len(v)
	}
	return n
}

// Attrs describe a blob.
type Attrs struct {
	Name     string
	Kind     Kind
	Size     int64  // bytes
	ETag     string // of this version, without quotes
	Created  time.Time
	Modified time.Time
	Parts    int // blocks it was made of or appended by; 0 for one made as a whole
	Properties
}

// Options are how a blob is written. The zero value makes a block blob whatever
// was there.
type Options struct {
	Properties
	Kind  Kind   // of a Put; a Commit makes blocks
	Sum   []byte // MD5 the content must have; nil for any
	Check Check  // nil for none
	// Limit is how many bytes there may be at most; 0 leaves it to the driver.
	Limit int64
}

// Ref names a block in the list of a Commit.
type Ref struct {
	ID   string
	From Source
}

// Source says where a block of a list is taken from.
type Source uint8

// The sources.
const (
	Latest    Source = iota // staged, or else committed
	Committed               // in the blob as it is
	Staged                  // for the blob
)

// Part is one block of a blob, or one staged for it.
type Part struct {
	ID   string
	Size int64
}

// ContainerInfo describes a container.
type ContainerInfo struct {
	Name    string
	ETag    string // without quotes
	Created time.Time
}
