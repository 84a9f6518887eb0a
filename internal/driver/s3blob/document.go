package s3blob

import (
	"crypto/rand"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/causeway-iot/causeway/internal/core/blob"
)

// document is the stored form of a blob. Its own type: the stored names must
// not change when a field of the domain is renamed.
type document struct {
	Name        string            `json:"name"`
	Append      bool              `json:"append,omitempty"`
	ETag        string            `json:"etag"`
	Created     time.Time         `json:"created"`
	Modified    time.Time         `json:"modified"`
	Parts       int               `json:"parts,omitempty"`
	Type        string            `json:"contentType,omitempty"`
	Encoding    string            `json:"contentEncoding,omitempty"`
	Language    string            `json:"contentLanguage,omitempty"`
	Disposition string            `json:"contentDisposition,omitempty"`
	Cache       string            `json:"cacheControl,omitempty"`
	MD5         []byte            `json:"md5,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
	Chunks      []chunk           `json:"chunks,omitempty"`
}

// chunk is a part of a blob.
type chunk struct {
	Key  string `json:"k"` // the last part of it
	Size int64  `json:"n"`
}

func (d *document) size() (n int64) {
	for _, c := range d.Chunks {
		n += c.Size
	}
	return n
}

// keys returns the chunks of the blob; nil has none.
func (d *document) keys() map[string]bool {
	keys := map[string]bool{}
	if d != nil {
		for _, c := range d.Chunks {
			keys[c.Key] = true
		}
	}
	return keys
}

// attrs describes the blob; nil is none.
func (d *document) attrs() *blob.Attrs {
	if d == nil {
		return nil
	}
	a := &blob.Attrs{
		Name: d.Name, Size: d.size(), ETag: d.ETag, Created: d.Created, Modified: d.Modified, Parts: d.Parts,
		Properties: blob.Properties{
			ContentType: d.Type, ContentEncoding: d.Encoding, ContentLanguage: d.Language,
			ContentDisposition: d.Disposition, CacheControl: d.Cache, MD5: d.MD5, Metadata: d.Metadata,
		},
	}
	if d.Append {
		a.Kind = blob.Append
	}
	return a
}

// set takes properties over.
func (d *document) set(p blob.Properties) {
	p = p.Clone()
	d.Type, d.Encoding, d.Language = p.ContentType, p.ContentEncoding, p.ContentLanguage
	d.Disposition, d.Cache, d.MD5, d.Metadata = p.ContentDisposition, p.CacheControl, p.MD5, p.Metadata
}

// newETag returns the tag of a new version, in the form the Blob service has.
func newETag() string {
	var b [7]byte
	rand.Read(b[:]) // never fails
	return "0x8D" + strings.ToUpper(hex.EncodeToString(b[:]))[:13]
}

func sortContainers(all []blob.ContainerInfo) {
	slices.SortFunc(all, func(x, y blob.ContainerInfo) int { return strings.Compare(x.Name, y.Name) })
}
