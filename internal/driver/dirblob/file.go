package dirblob

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"time"

	"github.com/causeway-iot/causeway/internal/core/blob"
)

// document is the stored form of attributes. Its own type: the stored names
// must not change when a field of the domain is renamed. The name is in it for
// those who find the file; the path says the same.
type document struct {
	Name        string            `json:"name"`
	Append      string            `json:"append,omitempty"` // file in appends/ of an append blob
	Size        int64             `json:"size"`
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
}

func documentOf(a blob.Attrs, data string) document {
	return document{
		Name: a.Name, Append: data, Size: a.Size, ETag: a.ETag, Created: a.Created, Modified: a.Modified, Parts: a.Parts,
		Type: a.ContentType, Encoding: a.ContentEncoding, Language: a.ContentLanguage, Disposition: a.ContentDisposition,
		Cache: a.CacheControl, MD5: a.MD5, Metadata: a.Metadata,
	}
}

func (d *document) attrs() blob.Attrs {
	a := blob.Attrs{
		Name: d.Name, Size: d.Size, ETag: d.ETag, Created: d.Created, Modified: d.Modified, Parts: d.Parts,
		Properties: blob.Properties{
			ContentType: d.Type, ContentEncoding: d.Encoding, ContentLanguage: d.Language,
			ContentDisposition: d.Disposition, CacheControl: d.Cache, MD5: d.MD5, Metadata: d.Metadata,
		},
	}
	if d.Append != "" {
		a.Kind = blob.Append
	}
	return a
}

// part is the stored form of a block: its id and size.
type part struct {
	ID   string `json:"i"`
	Size int64  `json:"n"`
}

// footer ends a file: magic, lengths of blocks and attributes, the checksum of
// both and of the footer before it.
const (
	footerSize  = 16
	footerMagic = "cwb1"
)

var crcTable = crc32.MakeTable(crc32.Castagnoli)

var errDamaged = errors.New("the file of the blob is damaged")

// tail returns what follows the bytes of a blob in its file.
func tail(d document, parts []part) ([]byte, error) {
	var blocks []byte
	if len(parts) > 0 {
		var err error
		if blocks, err = json.Marshal(parts); err != nil {
			return nil, fmt.Errorf("write the list of blocks: %w", err)
		}
	}
	attrs, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("write attributes: %w", err)
	}
	b := append(blocks, attrs...)
	b = append(b, footerMagic...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(blocks)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(attrs)))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[len(blocks):], crcTable)), nil
}

// file is an open blob.
type file struct {
	*os.File
	doc    document
	blocks int64 // where the list of blocks begins
	attrs  int64 // where it ends and the attributes begin
}

// readFile reads the end of a file.
func readFile(f *os.File) (*file, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var foot [footerSize]byte
	end := info.Size() - footerSize
	if end < 0 {
		return nil, fmt.Errorf("%w: it has %d bytes", errDamaged, info.Size())
	}
	if _, err := f.ReadAt(foot[:], end); err != nil {
		return nil, err
	}
	blocks, attrs := int64(binary.BigEndian.Uint32(foot[4:])), int64(binary.BigEndian.Uint32(foot[8:]))
	if string(foot[:4]) != footerMagic || blocks > maxTail || attrs > maxTail || blocks+attrs > end {
		return nil, fmt.Errorf("%w: it has no footer", errDamaged)
	}
	text := make([]byte, attrs, attrs+footerSize)
	if _, err := f.ReadAt(text, end-attrs); err != nil {
		return nil, err
	}
	if crc32.Checksum(append(text, foot[:12]...), crcTable) != binary.BigEndian.Uint32(foot[12:]) {
		return nil, fmt.Errorf("%w: the checksum of the attributes is wrong", errDamaged)
	}
	x := &file{File: f, blocks: end - attrs - blocks, attrs: end - attrs}
	if err := json.Unmarshal(text[:attrs], &x.doc); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if x.doc.Append == "" && x.doc.Size != x.blocks || x.doc.Size < 0 {
		return nil, fmt.Errorf("%w: it holds %d bytes, not %d", errDamaged, x.blocks, x.doc.Size)
	}
	return x, nil
}

// parts reads the list of blocks.
func (f *file) parts() ([]part, error) {
	if f.blocks == f.attrs {
		return nil, nil
	}
	text := make([]byte, f.attrs-f.blocks)
	if _, err := f.ReadAt(text, f.blocks); err != nil {
		return nil, err
	}
	var parts []part
	if err := json.Unmarshal(text, &parts); err != nil {
		return nil, fmt.Errorf("%w: the list of blocks: %w", errDamaged, err)
	}
	var sum int64
	for _, p := range parts {
		if p.Size < 0 {
			return nil, fmt.Errorf("%w: a block of %d bytes", errDamaged, p.Size)
		}
		sum += p.Size
	}
	if sum != f.doc.Size {
		return nil, fmt.Errorf("%w: its blocks have %d bytes", errDamaged, sum)
	}
	return parts, nil
}

// section reads part of a file and closes the file.
type section struct {
	io.SectionReader
	f io.Closer
}

func (s *section) Close() error { return s.f.Close() }
