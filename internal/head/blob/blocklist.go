package blob

import (
	"bytes"
	"crypto/md5" //nolint:gosec // the checksum of the Blob service, no defence
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strings"

	port "github.com/causeway-iot/causeway/internal/core/blob"
	"github.com/causeway-iot/causeway/internal/wire/percent"
)

// blockID returns the parameter blockid of a query. It is base64, in which a
// plus sign that a client does not escape is no space.
func blockID(query string) string {
	for pair := range strings.SplitSeq(query, "&") {
		if key, value, _ := strings.Cut(pair, "="); key == "blockid" {
			return percent.Unescape(value)
		}
	}
	return ""
}

// checkSum compares a body that was read with the header Content-MD5.
func (c *call) checkSum(b []byte) error {
	want, err := c.sum("Content-MD5")
	if err != nil || want == nil {
		return err
	}
	if got := md5.Sum(b); !bytes.Equal(got[:], want) { //nolint:gosec // see the import
		return fail(md5Mismatch, "the body does not have the MD5 of the header Content-MD5")
	}
	return nil
}

// sources are the elements of a list of blocks.
var sources = map[string]port.Source{"Latest": port.Latest, "Committed": port.Committed, "Uncommitted": port.Staged}

// readBlockList reads the XML of a list of blocks: one element BlockList with an
// element for each block.
func readBlockList(text []byte) ([]port.Ref, error) {
	d := xml.NewDecoder(bytes.NewReader(text))
	bad := func(format string, args ...any) ([]port.Ref, error) {
		line, column := d.InputPos()
		return nil, fail(invalidXML, "line %d, column %d: "+format, append([]any{line, column}, args...)...)
	}
	var list []port.Ref
	var id strings.Builder
	depth, ended := 0, false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) && ended {
			return list, nil
		}
		if err != nil {
			if s, ok := errors.AsType[*xml.SyntaxError](err); ok {
				return bad("%s", s.Msg)
			}
			return bad("%v", err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			depth++
			switch _, known := sources[t.Name.Local]; {
			case depth == 1 && (t.Name.Local != "BlockList" || ended):
				return bad("the document is a BlockList, not a %q", clip(t.Name.Local))
			case depth == 2 && !known:
				return bad("a BlockList has elements Latest, Committed and Uncommitted, not %q", clip(t.Name.Local))
			case depth > 2:
				return bad("the id of a block is text, not an element %q", clip(t.Name.Local))
			}
			id.Reset()
		case xml.CharData:
			if depth == 2 {
				id.Write(t)
			} else if len(bytes.TrimSpace(t)) > 0 {
				return bad("there is text outside of the elements of the blocks")
			}
		case xml.EndElement:
			if depth == 2 {
				if len(list) == port.MaxBlocks {
					return nil, fail(blockListTooLong, "the list has more than %d blocks", port.MaxBlocks)
				}
				ref := port.Ref{ID: strings.TrimSpace(id.String()), From: sources[t.Name.Local]}
				if err := port.CheckBlockID(ref.ID); err != nil {
					return nil, fail(invalidBlockID, "block %d of the list: %v", len(list)+1, err)
				}
				list = append(list, ref)
			}
			depth--
			ended = depth == 0
		}
	}
}

type blockElement struct {
	Name string
	Size int64
}

// blockListBody is the answer to getBlockList.
type blockListBody struct {
	XMLName     xml.Name        `xml:"BlockList"`
	Committed   *[]blockElement `xml:"CommittedBlocks>Block"`
	Uncommitted *[]blockElement `xml:"UncommittedBlocks>Block"`
}

// getBlockList lists the blocks of a blob.
func (h *handler) getBlockList(c *call) error {
	which := c.r.URL.Query().Get("blocklisttype")
	switch which {
	case "":
		which = "committed"
	case "committed", "uncommitted", "all":
	default:
		return fail(invalidQuery, "blocklisttype is %q, not committed, uncommitted or all", clip(which))
	}
	k, err := readConditions(c.r.Header)
	if err != nil {
		return err
	}
	committed, staged, err := c.bucket.Blocks(c.r.Context(), c.blob)
	if err != nil {
		return err
	}
	a, err := c.bucket.Head(c.r.Context(), c.blob)
	switch {
	case err == nil:
		if err := k.read(a); err != nil {
			return err
		}
		head := c.w.Header()
		head["ETag"] = []string{quote(a.ETag)}
		head["Last-Modified"] = []string{a.Modified.UTC().Format(http.TimeFormat)}
		head["x-ms-blob-content-length"] = []string{itoa(a.Size)}
		if a.Kind != port.Block {
			return fail(invalidBlobType, "the blob is an append blob, which has no list of blocks")
		}
	case !errors.Is(err, port.ErrNotFound):
		return err
	}
	var b blockListBody
	if which != "uncommitted" {
		b.Committed = elements(committed)
	}
	if which != "committed" {
		b.Uncommitted = elements(staged)
	}
	return h.sendXML(c, b)
}

func elements(parts []port.Part) *[]blockElement {
	all := make([]blockElement, len(parts))
	for i, p := range parts {
		all[i] = blockElement{p.ID, p.Size}
	}
	return &all
}
