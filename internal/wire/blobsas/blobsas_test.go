package blobsas_test

import (
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/wire/blobsas"
)

// key is a secret of tests alone.
var key, _ = base64.StdEncoding.DecodeString("c2VjcmV0IGtleSBvZiBhIHRlc3QsIDMyIGJ5dGVzIQ==")

// vectors were made by the storage clients of Python (azure-storage-blob 12.31)
// and Node (@azure/storage-blob 12.8) for the account causeway.
var vectors = []struct{ name, query, container, blob string }{
	{"Python, blob", "se=2030-01-02T03%3A04%3A05Z&sp=rw&sv=2026-10-06&sr=b&sig=QpMwTLIzhFPEUIHy9BijEB6N1C83hR2WMPDQVISUKJw%3D", "uploads", "press-1/a b/é.txt"},
	{"Python, container", "st=2020-01-01T00%3A00%3A00Z&se=2030-01-02T03%3A04%3A05Z&sp=rwdl&sip=10.0.0.1-10.0.0.9&spr=https%2Chttp&sv=2026-10-06&sr=c&sig=g/gkD4QJoefOkFh6JzNiqrZc7yf7Kdv1VZ3P/hy6dhQ%3D", "uploads", ""},
	{"Python, overrides", "se=2030-01-02T03%3A04%3A05Z&sp=r&sv=2026-10-06&sr=b&rscc=no-cache&rscd=attachment%3B%20filename%3Dx.txt&rsce=gzip&rscl=de&rsct=text/plain&sig=rAtHWti1MKkMpAe0iR2lZAWu0wqAvMDCFkMyA/wv7xc%3D", "uploads", "x"},
	{"Python, account", "se=2030-01-02T03%3A04%3A05Z&sp=rwlc&sv=2026-10-06&ss=b&srt=sco&sig=yNRXIydfBxg4YubZpDRXVQnDlvV9hMzXqj1rd6zZBpw%3D", "", ""},
	{"Node, 2018-03-28", "sv=2018-03-28&se=2030-01-02T03%3A04%3A05Z&sr=b&sp=racwd&sig=P2pscE1hLRfYr6KCfDnveUMovTYvdZblE8Ojzd5mcsg%3D", "uploads", "press-1/x+y.txt"},
	{"Node, 2019-12-12", "sv=2019-12-12&se=2030-01-02T03%3A04%3A05Z&sr=b&sp=racwd&sig=Pp8Fwc3YsNzHzewBIx7RwhZshyjqpJI%2B8%2FoMTEt7hQY%3D", "uploads", "press-1/x+y.txt"},
	{"Node, 2020-10-02", "sv=2020-10-02&se=2030-01-02T03%3A04%3A05Z&sr=b&sp=racwd&sig=MCJ9WVwCcOWHQNnPy2svpyJ7k1uaCUtsevDvglewQv8%3D", "uploads", "press-1/x+y.txt"},
	{"Node, account", "sv=2020-10-02&ss=b&srt=sco&st=2020-01-01T00%3A00%3A00Z&se=2030-01-02T03%3A04%3A05Z&sp=rl&sig=Ap3Z%2BXTeg9uu62zqYH%2B%2FPTj46lDPGq5fZxcMaz%2FMwPA%3D", "any", "any"},
}

func TestVectors(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			tok, ok, err := blobsas.Parse("comp=block&" + v.query + "&x=y")
			if !ok || err != nil {
				t.Fatalf("Parse: %v, %v", ok, err)
			}
			if !tok.Verify(key, "causeway", v.container, v.blob) {
				t.Error("the signature is not accepted")
			}
			if tok.Verify(key, "other", v.container, v.blob) || tok.Verify(nil, "causeway", v.container, v.blob) || tok.Verify(key[1:], "causeway", v.container, v.blob) {
				t.Error("another account or key is accepted")
			}
			if tok.Scope != blobsas.Account && tok.Verify(key, "causeway", v.container+"x", v.blob) {
				t.Error("another container is accepted")
			}
			if tok.Scope == blobsas.Blob && tok.Verify(key, "causeway", v.container, v.blob+"x") {
				t.Error("another blob is accepted")
			}
			for _, change := range []string{"sp", "se", "sv"} {
				bad := strings.Replace(v.query, change+"=", change+"=2", 1)
				if tok, _, err := blobsas.Parse(bad); err == nil && tok.Verify(key, "causeway", v.container, v.blob) {
					t.Errorf("%s can be changed", change)
				}
			}
		})
	}
}

func TestSign(t *testing.T) {
	expiry := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, g := range []blobsas.Grant{
		{Container: "uploads", Blob: "press-1/é +%&=?#.txt", Permissions: "cw", Expiry: expiry},
		{Permissions: "rwdlac", Expiry: expiry},
		{Container: "uploads", Permissions: "racwdl", Start: expiry.Add(-time.Hour), Expiry: expiry},
	} {
		q := blobsas.Sign(key, g)
		tok, ok, err := blobsas.Parse(q)
		if !ok || err != nil || !tok.Verify(key, blobsas.AccountName, g.Container, g.Blob) {
			t.Fatalf("Sign = %q, read as %+v, %v, %v", q, tok, ok, err)
		}
		if !tok.Expiry.Equal(g.Expiry) || !tok.Start.Equal(g.Start) || tok.Permissions != g.Permissions {
			t.Errorf("token: %+v", tok)
		}
		if !tok.ValidAt(expiry.Add(-time.Second)) || tok.ValidAt(expiry) || !g.Start.IsZero() && tok.ValidAt(g.Start.Add(-time.Second)) {
			t.Error("the token is valid at the wrong time")
		}
		if !tok.Allows("xw") || tok.Allows("y") {
			t.Error("permissions are read wrongly")
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, c := range []struct {
		sip, client string
		want        bool
	}{
		{"", "10.0.0.1", true},
		{"10.0.0.1", "10.0.0.1", true},
		{"10.0.0.1", "10.0.0.2", false},
		{"10.0.0.1-10.0.0.9", "10.0.0.9", true},
		{"10.0.0.1-10.0.0.9", "10.0.0.10", false},
		{"10.0.0.1-10.0.0.9", "::ffff:10.0.0.5", true},
		{"10.0.0.1-10.0.0.9", "::1", false},
		{"fe80::1", "fe80::1%eth0", true},
	} {
		q := "sv=2020-10-02&sr=b&sp=r&se=2030-01-01&sig=AAAA"
		if c.sip != "" {
			q += "&sip=" + c.sip
		}
		tok, _, err := blobsas.Parse(q)
		if err != nil {
			t.Fatal(err)
		}
		if got := tok.Admits(netip.MustParseAddr(c.client)); got != c.want {
			t.Errorf("sip=%s admits %s: %v", c.sip, c.client, got)
		}
	}
}

func TestMalformed(t *testing.T) {
	good := "sv=2020-10-02&sr=b&sp=r&se=2030-01-01&sig=AAAA"
	if _, ok, err := blobsas.Parse(good); !ok || err != nil {
		t.Fatalf("Parse(%s): %v, %v", good, ok, err)
	}
	if _, ok, err := blobsas.Parse("comp=list&restype=container"); ok || err != nil {
		t.Errorf("a query without a signature: %v, %v", ok, err)
	}
	for name, q := range map[string]string{
		"old version":        strings.Replace(good, "2020", "2014", 1),
		"no version":         strings.Replace(good, "sv=", "xx=", 1),
		"scope":              strings.Replace(good, "sr=b", "sr=d", 1),
		"no scope":           strings.Replace(good, "sr=b", "x=y", 1),
		"both scopes":        good + "&ss=b&srt=o",
		"no permissions":     strings.Replace(good, "sp=r", "sp=", 1),
		"expiry":             strings.Replace(good, "2030-01-01", "tomorrow", 1),
		"no expiry":          strings.Replace(good, "se=", "x=", 1),
		"start":              good + "&st=yesterday",
		"protocol":           good + "&spr=http",
		"addresses":          good + "&sip=10.0.0.1-::1",
		"address":            good + "&sip=home",
		"signature":          strings.Replace(good, "AAAA", "?", 1),
		"empty signature":    strings.Replace(good, "AAAA", "", 1),
		"twice":              good + "&sp=rw",
		"stored policy":      good + "&si=policy",
		"user delegation":    good + "&skoid=1",
		"directory":          good + "&sdd=1",
		"encryption scope":   good + "&ses=x",
		"line break":         good + "&rsct=a%0Ab",
		"longer than a page": good + "&x=" + strings.Repeat("x", blobsas.MaxQuery),
	} {
		if _, _, err := blobsas.Parse(q); !errors.Is(err, blobsas.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzParse never accepts a signature that nobody made.
func FuzzParse(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.query, v.container, v.blob)
	}
	f.Add("sig=AAAA&sv=2020-10-02&sr=b&sp=r&se=2030-01-01", "c", "b")
	other := []byte("a key that has signed nothing")
	f.Fuzz(func(t *testing.T, q, container, name string) {
		tok, ok, err := blobsas.Parse(q)
		if err != nil || !ok {
			return
		}
		if tok.Expiry.IsZero() || tok.Permissions == "" || tok.Verify(other, "causeway", container, name) {
			t.Fatalf("%q was accepted: %+v", q, tok)
		}
		tok.Verify(key, "causeway", container, name)
		tok.Admits(netip.IPv4Unspecified())
	})
}
