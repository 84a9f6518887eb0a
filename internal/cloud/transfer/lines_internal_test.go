package transfer

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/causeway-iot/causeway/internal/cloud/bulk"
)

// FuzzLines: offsets are those of the lines, whatever the file and however it
// comes.
func FuzzLines(f *testing.F) {
	f.Add("a\nb\r\n\n \nc", false)
	f.Add("\xef\xbb\xbf{}\n", true)
	f.Add("", true)
	f.Fuzz(func(t *testing.T, text string, slowly bool) {
		var r io.Reader = strings.NewReader(text)
		if slowly {
			r = iotest.OneByteReader(r)
		}
		l := newLines(r, 0)
		for {
			at := l.off
			line, long, err := l.next()
			if errors.Is(err, io.EOF) {
				if at != int64(len(text)) {
					t.Fatalf("the end is at %d of %d", at, len(text))
				}
				return
			}
			if err != nil || long || l.off <= at {
				t.Fatalf("at %d: %q, %v, %v, then at %d", at, line, long, err, l.off)
			}
			whole, _, _ := strings.Cut(text[at:], "\n")
			if string(line) != strings.TrimRight(strings.TrimPrefix(whole, "\xef\xbb\xbf"), "\r\n ") {
				t.Fatalf("at %d: %q, want %q", at, line, whole)
			}
		}
	})
}

// TestLongLines: a line without end costs no memory.
func TestLongLines(t *testing.T) {
	l := newLines(io.LimitReader(endless{}, 64<<20), 0)
	line, long, err := l.next()
	if !long || err != nil || len(line) > bulk.MaxItem+2 || cap(l.line) > 4*bulk.MaxItem || l.off != 64<<20 {
		t.Errorf("%d bytes in %d, %v, %v, then at %d", len(line), cap(l.line), long, err, l.off)
	}
	if _, _, err := l.next(); !errors.Is(err, io.EOF) {
		t.Errorf("then %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}
