package s3blob_test

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// fake is the part of S3 that the driver uses, in memory, after its public
// description. It does not check signatures.
type fake struct {
	mu      sync.Mutex
	objects map[string]object
	uploads map[string]map[int]object // by upload id
	next    int
}

type object struct {
	body     []byte
	header   http.Header // x-amz-meta-…
	modified time.Time
}

func newFake() *fake {
	return &fake{objects: map[string]object{}, uploads: map[string]map[int]object{}}
}

func (o object) etag() string {
	h := md5.Sum(o.body)
	return `"` + hex.EncodeToString(h[:]) + `"`
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, code)
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	q := r.URL.Query()
	switch {
	case bucket != "blobs":
		refuse(w, 404, "NoSuchBucket")
	case key == "" && q.Has("location"):
		fmt.Fprint(w, `<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></LocationConstraint>`)
	case key == "" && r.Method == http.MethodHead:
	case key == "":
		f.list(w, q)
	case r.Method == http.MethodPost && q.Has("uploads"):
		f.next++
		id := strconv.Itoa(f.next)
		f.uploads[id] = map[int]object{0: {header: meta(r.Header)}}
		fmt.Fprintf(w, "<InitiateMultipartUploadResult><Bucket>blobs</Bucket><Key>x</Key><UploadId>%s</UploadId></InitiateMultipartUploadResult>", id)
	case r.Method == http.MethodPost:
		f.complete(w, key, q.Get("uploadId"))
	case r.Method == http.MethodDelete && q.Has("uploadId"):
		delete(f.uploads, q.Get("uploadId"))
		w.WriteHeader(204)
	case r.Method == http.MethodDelete:
		delete(f.objects, key)
		w.WriteHeader(204)
	case r.Method == http.MethodPut:
		f.put(w, r, key, q)
	default:
		f.get(w, r, key)
	}
}

func meta(h http.Header) http.Header {
	m := http.Header{}
	for k, v := range h {
		if strings.HasPrefix(k, "X-Amz-Meta-") || k == "Content-Type" {
			m[k] = v
		}
	}
	return m
}

func (f *fake) put(w http.ResponseWriter, r *http.Request, key string, q url.Values) {
	body, err := readBody(r)
	if err != nil {
		refuse(w, 400, "IncompleteBody")
		return
	}
	o := object{body, meta(r.Header), time.Now()}
	w.Header().Set("ETag", o.etag())
	if id := q.Get("uploadId"); id != "" {
		n, _ := strconv.Atoi(q.Get("partNumber"))
		if f.uploads[id] == nil {
			refuse(w, 404, "NoSuchUpload")
			return
		}
		f.uploads[id][n] = o
		return
	}
	if len(key) > 1024 {
		refuse(w, 400, "KeyTooLongError")
		return
	}
	f.objects[key] = o
}

// readBody undoes the chunks that a signature may be spread over.
func readBody(r *http.Request) ([]byte, error) {
	b, err := io.ReadAll(r.Body)
	if err != nil || !strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		return b, err
	}
	var out []byte
	for {
		head, rest, ok := strings.Cut(string(b), "\r\n")
		if !ok {
			return nil, io.ErrUnexpectedEOF
		}
		size, _, _ := strings.Cut(head, ";")
		n, err := strconv.ParseInt(size, 16, 64)
		if err != nil || n > int64(len(rest)) {
			return nil, io.ErrUnexpectedEOF
		}
		if n == 0 {
			return out, nil
		}
		out = append(out, rest[:n]...)
		b = []byte(strings.TrimPrefix(rest[n:], "\r\n"))
	}
}

func (f *fake) complete(w http.ResponseWriter, key, id string) {
	parts := f.uploads[id]
	if parts == nil {
		refuse(w, 404, "NoSuchUpload")
		return
	}
	o := object{header: parts[0].header, modified: time.Now()}
	for n := 1; n < len(parts); n++ {
		if n < len(parts)-1 && len(parts[n].body) < 5<<20 {
			refuse(w, 400, "EntityTooSmall")
			return
		}
		o.body = append(o.body, parts[n].body...)
	}
	delete(f.uploads, id)
	f.objects[key] = o
	fmt.Fprintf(w, "<CompleteMultipartUploadResult><Bucket>blobs</Bucket><Key>x</Key><ETag>%s</ETag></CompleteMultipartUploadResult>", strings.Trim(o.etag(), `"`))
}

func (f *fake) get(w http.ResponseWriter, r *http.Request, key string) {
	o, ok := f.objects[key]
	if !ok {
		refuse(w, 404, "NoSuchKey")
		return
	}
	for k, v := range o.header {
		w.Header()[k] = v
	}
	w.Header().Set("ETag", o.etag())
	http.ServeContent(w, r, "", o.modified, strings.NewReader(string(o.body)))
}

type listBody struct {
	XMLName        xml.Name `xml:"ListBucketResult"`
	Name           string
	IsTruncated    bool
	MaxKeys        int
	EncodingType   string `xml:",omitempty"`
	NextToken      string `xml:"NextContinuationToken,omitempty"`
	Contents       []listed
	CommonPrefixes []struct{ Prefix string }
}

type listed struct {
	Key          string
	LastModified string
	ETag         string
	Size         int
}

func (f *fake) list(w http.ResponseWriter, q url.Values) {
	b := listBody{Name: "blobs", MaxKeys: 1000, EncodingType: q.Get("encoding-type")}
	if n, err := strconv.Atoi(q.Get("max-keys")); err == nil && n < b.MaxKeys {
		b.MaxKeys = n
	}
	code := func(s string) string {
		if b.EncodingType == "url" {
			return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
		}
		return s
	}
	after := max(q.Get("start-after"), q.Get("continuation-token"))
	keys := make([]string, 0, len(f.objects))
	for k := range f.objects {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	seen := ""
	for _, k := range keys {
		rest, ok := strings.CutPrefix(k, q.Get("prefix"))
		if !ok || k <= after {
			continue
		}
		if len(b.Contents)+len(b.CommonPrefixes) == b.MaxKeys {
			b.IsTruncated = true
			break
		}
		if i := strings.Index(rest, "/"); q.Get("delimiter") == "/" && i >= 0 {
			if p := k[:len(k)-len(rest)+i+1]; p != seen && p > after {
				seen = p
				b.CommonPrefixes = append(b.CommonPrefixes, struct{ Prefix string }{code(p)})
				b.NextToken = p + "\U0010FFFF"
			}
			continue
		}
		o := f.objects[k]
		b.Contents = append(b.Contents, listed{code(k), o.modified.UTC().Format(time.RFC3339), o.etag(), len(o.body)})
		b.NextToken = k
	}
	if !b.IsTruncated {
		b.NextToken = ""
	}
	_ = xml.NewEncoder(w).Encode(b)
}
