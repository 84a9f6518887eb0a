package blob

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	port "github.com/causeway-iot/causeway/internal/core/blob"
	"github.com/causeway-iot/causeway/internal/wire/blobsas"
)

// itemBytes is about what an item of a list takes.
const itemBytes = 1 << 10

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// sendXML answers with a document.
func (h *handler) sendXML(c *call, v any) error {
	text, err := xml.Marshal(v)
	if err != nil {
		return fmt.Errorf("render the answer: %w", err)
	}
	text = append([]byte(xml.Header), text...)
	head := c.w.Header()
	head.Set("Content-Type", "application/xml")
	head.Set("Content-Length", strconv.Itoa(len(text)))
	return h.deliver(c, http.StatusOK, bytes.NewReader(text))
}

// page is which part of a list is asked for.
type page struct {
	prefix, delimiter string
	after             string
	limit             int
	metadata          bool
}

func readPage(q url.Values) (p page, err error) {
	p = page{prefix: q.Get("prefix"), delimiter: q.Get("delimiter"), limit: MaxPage}
	p.metadata = slices.Contains(strings.Split(strings.Join(q["include"], ","), ","), "metadata")
	if v := q.Get("maxresults"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return p, fail(outOfRangeQuery, "maxresults is %q, not a number from 1 on", clip(v))
		}
		p.limit = min(n, MaxPage)
	}
	if p.metadata {
		p.limit = min(p.limit, maxMetaPage)
	}
	if len(p.prefix) > port.MaxName || len(p.delimiter) > port.MaxName {
		return p, fail(invalidQuery, "prefix and delimiter have at most %d bytes", port.MaxName)
	}
	after, err := base64.RawURLEncoding.DecodeString(q.Get("marker"))
	if err != nil || len(after) > 2*port.MaxName {
		return p, fail(invalidQuery, "marker is not one that an answer had as NextMarker")
	}
	p.after = string(after)
	return p, nil
}

// marker is how a position is given to clients.
func marker(after string) string { return base64.RawURLEncoding.EncodeToString([]byte(after)) }

// The documents of lists. Their order of elements is that of the service.
type (
	blobsBody struct {
		XMLName    xml.Name `xml:"EnumerationResults"`
		Endpoint   string   `xml:"ServiceEndpoint,attr"`
		Container  string   `xml:"ContainerName,attr"`
		Prefix     string   `xml:",omitempty"`
		Marker     string   `xml:",omitempty"`
		MaxResults int      `xml:",omitempty"`
		Delimiter  string   `xml:",omitempty"`
		Blobs      blobsElement
		NextMarker string
	}
	blobsElement struct{ Items []any }
	blobElement  struct {
		XMLName    xml.Name `xml:"Blob"`
		Name       string
		Properties blobProperties
		Metadata   *metadataElement
	}
	prefixElement struct {
		XMLName xml.Name `xml:"BlobPrefix"`
		Name    string
	}
	blobProperties struct {
		Created     string `xml:"Creation-Time"`
		Modified    string `xml:"Last-Modified"`
		Etag        string
		Length      int64  `xml:"Content-Length"`
		Type        string `xml:"Content-Type"`
		Encoding    string `xml:"Content-Encoding"`
		Language    string `xml:"Content-Language"`
		MD5         string `xml:"Content-MD5"`
		Cache       string `xml:"Cache-Control"`
		Disposition string `xml:"Content-Disposition"`
		BlobType    string
		LeaseStatus string
		LeaseState  string
		Encrypted   bool `xml:"ServerEncrypted"`
	}
	metadataElement map[string]string
)

// MarshalXML writes blobs and prefixes side by side.
func (b blobsElement) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	if err := e.EncodeToken(start); err != nil {
		return err
	}
	for _, it := range b.Items {
		if err := e.Encode(it); err != nil {
			return err
		}
	}
	return e.EncodeToken(start.End())
}

// MarshalXML writes an element for each name, in order. Names that cannot be
// one are left out: a client could not read the rest either.
func (m metadataElement) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	if err := e.EncodeToken(start); err != nil {
		return err
	}
	names := make([]string, 0, len(m))
	for n := range m {
		if identifier(n) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	for _, n := range names {
		if err := e.EncodeElement(m[n], xml.StartElement{Name: xml.Name{Local: n}}); err != nil {
			return err
		}
	}
	return e.EncodeToken(start.End())
}

func identifier(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '_' && (i == 0 || (c < '0' || c > '9') && c != '-' && c != '.') {
			return false
		}
	}
	return s != ""
}

func (c *call) endpoint() string {
	e := "https://" + c.r.Host + "/"
	if first, _, _ := strings.Cut(strings.TrimPrefix(c.r.URL.Path, "/"), "/"); first == blobsas.AccountName {
		e += blobsas.AccountName + "/"
	}
	return e
}

// listBlobs lists the blobs of a container; with a delimiter, those whose names
// have it behind the prefix are summed up.
func (h *handler) listBlobs(c *call) error {
	q := c.r.URL.Query()
	p, err := readPage(q)
	if err != nil {
		return err
	}
	release, err := h.memory(c, int64(p.limit)*itemBytes)
	if err != nil {
		return err
	}
	defer release()
	body := blobsBody{
		Endpoint: c.endpoint(), Container: c.container, Prefix: p.prefix, Marker: q.Get("marker"), Delimiter: p.delimiter,
	}
	if q.Get("maxresults") != "" {
		body.MaxResults = p.limit
	}
	items, next, err := c.collect(p)
	if err != nil {
		return err
	}
	body.Blobs.Items = items
	if next != "" {
		body.NextMarker = marker(next)
	}
	return h.sendXML(c, body)
}

// How many names are asked for at once: few while most are summed up, more the
// longer none is.
const (
	firstBatch = 4
	mostBatch  = 1000
)

// collect returns the elements of a page and the name after which the next
// begins, "" at the end.
func (c *call) collect(p page) (items []any, next string, err error) {
	batch := firstBatch
	if p.delimiter == "" {
		batch = mostBatch
	}
	for {
		want := min(batch, p.limit-len(items)+1) // one more, to know whether there is
		found, err := c.bucket.List(c.r.Context(), p.prefix, p.after, want)
		if err != nil {
			return nil, "", err
		}
		summed := false
		for _, a := range found {
			if len(items) == p.limit {
				return items, p.after, nil
			}
			rest := a.Name[len(p.prefix):]
			if i := strings.Index(rest, p.delimiter); p.delimiter != "" && i >= 0 {
				group := p.prefix + rest[:i+len(p.delimiter)]
				items = append(items, prefixElement{Name: group})
				// Behind every name of the group: none has this byte.
				p.after, summed = group+"\xff", true
				break
			}
			items = append(items, element(a, p.metadata))
			p.after = a.Name
		}
		switch {
		case summed:
			batch = firstBatch
		case len(found) < want:
			return items, "", nil
		default:
			batch = min(2*batch, mostBatch)
		}
	}
}

func element(a port.Attrs, withMetadata bool) blobElement {
	e := blobElement{Name: a.Name, Properties: blobProperties{
		Created: a.Created.UTC().Format(http.TimeFormat), Modified: a.Modified.UTC().Format(http.TimeFormat), Etag: a.ETag, Length: a.Size,
		Type: orElse(a.ContentType, defaultType), Encoding: a.ContentEncoding, Language: a.ContentLanguage, Cache: a.CacheControl,
		Disposition: a.ContentDisposition, BlobType: a.Kind.String(), LeaseStatus: "unlocked", LeaseState: "available",
	}}
	if a.MD5 != nil {
		e.Properties.MD5 = base64.StdEncoding.EncodeToString(a.MD5)
	}
	if withMetadata {
		m := metadataElement(a.Metadata)
		e.Metadata = &m
	}
	return e
}

// Documents of containers.
type (
	containersBody struct {
		XMLName    xml.Name `xml:"EnumerationResults"`
		Endpoint   string   `xml:"ServiceEndpoint,attr"`
		Prefix     string   `xml:",omitempty"`
		Marker     string   `xml:",omitempty"`
		Containers struct {
			Container []containerElement
		}
		NextMarker string
	}
	containerElement struct {
		Name       string
		Properties containerProperties
	}
	containerProperties struct {
		Modified    string `xml:"Last-Modified"`
		Etag        string
		LeaseStatus string
		LeaseState  string
	}
)

// listContainers lists the containers of the account.
func (h *handler) listContainers(c *call) error {
	q := c.r.URL.Query()
	p, err := readPage(q)
	if err != nil {
		return err
	}
	all, err := c.account.Store.Containers(c.r.Context(), p.prefix, p.after, p.limit+1)
	if err != nil {
		return err
	}
	body := containersBody{Endpoint: c.endpoint(), Prefix: p.prefix, Marker: q.Get("marker")}
	if len(all) > p.limit {
		all = all[:p.limit]
		body.NextMarker = marker(all[p.limit-1].Name)
	}
	for _, i := range all {
		body.Containers.Container = append(body.Containers.Container, containerElement{Name: i.Name, Properties: containerProperties{
			Modified: i.Created.UTC().Format(http.TimeFormat), Etag: i.ETag, LeaseStatus: "unlocked", LeaseState: "available",
		}})
	}
	return h.sendXML(c, body)
}

// createContainer makes a container.
func (h *handler) createContainer(c *call) error {
	if err := c.account.Store.Create(c.r.Context(), c.container); err != nil {
		return wrapContainer(err)
	}
	return h.describeContainer(c, http.StatusCreated)
}

// getContainer describes a container.
func (h *handler) getContainer(c *call) error { return h.describeContainer(c, http.StatusOK) }

func (h *handler) describeContainer(c *call, status int) error {
	i, err := c.account.Store.Stat(c.r.Context(), c.container)
	if err != nil {
		return err
	}
	head := c.w.Header()
	head["ETag"] = []string{quote(i.ETag)}
	head["Last-Modified"] = []string{i.Created.UTC().Format(http.TimeFormat)}
	if status == http.StatusOK {
		for name, value := range map[string]string{
			"x-ms-lease-status": "unlocked", "x-ms-lease-state": "available",
			"x-ms-has-immutability-policy": "false", "x-ms-has-legal-hold": "false",
		} {
			head[name] = []string{value}
		}
	}
	c.reply(status)
	return nil
}

// deleteContainer ends a container with all its blobs.
func (h *handler) deleteContainer(c *call) error {
	k, err := readConditions(c.r.Header)
	if err != nil {
		return err
	}
	if k.match != "" || k.noneMatch != "" {
		return fail(unsupportedHeader, "a container is deleted without a condition on its etag")
	}
	if err := c.account.Store.Remove(c.r.Context(), c.container); err != nil && !errors.Is(err, port.ErrNoContainer) {
		return err
	} else if err != nil {
		return fail(containerNotFound, "the container does not exist")
	}
	c.reply(http.StatusAccepted)
	return nil
}
