package s3blob_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/blob"
	"github.com/causeway-iot/causeway/internal/core/blob/blobtest"
	"github.com/causeway-iot/causeway/internal/driver/s3blob"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service returns where S3 is: the one of the environment, or one in memory.
//
//	S3_TEST_ENDPOINT=127.0.0.1:7070 S3_TEST_ACCESS=… S3_TEST_SECRET=… S3_TEST_BUCKET=…
func service(t *testing.T) s3blob.Options {
	t.Helper()
	tr := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(tr.CloseIdleConnections)
	if at := os.Getenv("S3_TEST_ENDPOINT"); at != "" {
		return s3blob.Options{
			Endpoint: at, Bucket: os.Getenv("S3_TEST_BUCKET"), Access: os.Getenv("S3_TEST_ACCESS"),
			Secret: causeway.Secret(os.Getenv("S3_TEST_SECRET")), Plain: true, Transport: tr, Region: "us-east-1",
		}
	}
	s := httptest.NewServer(newFake())
	t.Cleanup(s.Close)
	return s3blob.Options{
		Endpoint: strings.TrimPrefix(s.URL, "http://"), Bucket: "blobs", Access: "access", Secret: "secret", Plain: true, Transport: tr, Region: "us-east-1",
	}
}

func open(t *testing.T, o s3blob.Options) *s3blob.Store {
	t.Helper()
	s, err := s3blob.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContract(t *testing.T) {
	o := service(t)
	run := fmt.Sprintf("test-%d/", time.Now().UnixNano())
	blobtest.Run(t, func(t *testing.T, dir string) blob.Store {
		o.Prefix = run + strings.Map(func(r rune) rune {
			if r == '/' || r == '\\' {
				return '-'
			}
			return r
		}, strings.Trim(dir[strings.LastIndex(dir, "Test"):], "/")) + "/"
		return open(t, o)
	})
}

func TestNoBucket(t *testing.T) {
	o := service(t)
	o.Bucket = "no-such-bucket"
	if _, err := s3blob.Open(t.Context(), o); err == nil || strings.Contains(err.Error(), string(o.Secret)) {
		t.Errorf("Open: %v", err)
	}
}

// TestSweep forgets what no blob has, and nothing else.
func TestSweep(t *testing.T) {
	o := service(t)
	o.Prefix = fmt.Sprintf("sweep-%d/", time.Now().UnixNano())
	s := open(t, o)
	ctx := t.Context()
	if err := s.Create(ctx, "first"); err != nil {
		t.Fatal(err)
	}
	b := s.Container("first")
	if _, err := b.Put(ctx, "kept", strings.NewReader("content"), blob.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"kept", "other"} {
		if err := b.Stage(ctx, n, "AAAA", strings.NewReader("block"), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Sweep(ctx, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, staged, err := b.Blocks(ctx, "other"); err != nil || len(staged) != 1 {
		t.Errorf("young blocks: %v, %v", staged, err)
	}
	if err := s.Sweep(ctx, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, staged, err := b.Blocks(ctx, "kept"); err != nil || len(staged) != 0 {
		t.Errorf("old blocks: %v, %v", staged, err)
	}
	if _, _, err := b.Blocks(ctx, "other"); err == nil {
		t.Error("old blocks of no blob are there")
	}
	r, _, err := b.Get(ctx, "kept", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var text [16]byte
	if n, _ := r.Read(text[:]); string(text[:n]) != "content" {
		t.Errorf("the blob is %q", text[:n])
	}
}
