package transfer

import (
	"bufio"
	"errors"
	"io"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/bulk"
)

// lines reads a file line by line. A line that is too long is skipped to its end.
type lines struct {
	r    *bufio.Reader
	off  int64 // of the next line
	line []byte
}

func newLines(r io.Reader, off int64) *lines {
	return &lines{r: bufio.NewReaderSize(r, 64<<10), off: off}
}

// next returns the next line without its end; it is valid until the next call.
// tooLong says that only its beginning is there. At the end it returns io.EOF; a
// last line without an end is a line.
func (l *lines) next() (line []byte, tooLong bool, err error) {
	l.line = l.line[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		l.off += int64(len(part))
		if len(l.line)+len(part) > bulk.MaxItem+2 {
			tooLong = true
			part = part[:max(0, min(len(part), 256-len(l.line)))]
		}
		l.line = append(l.line, part...)
		switch {
		case err == nil:
			return trim(l.line), tooLong, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(l.line) > 0:
			return trim(l.line), tooLong, nil
		default:
			return nil, false, err
		}
	}
}

// trim takes the end of a line off, and a byte order mark, which editors leave.
func trim(b []byte) []byte {
	if len(b) >= 3 && b[0] == 0xef && b[1] == 0xbb && b[2] == 0xbf {
		b = b[3:]
	}
	for len(b) > 0 && (b[len(b)-1] == '\n' || b[len(b)-1] == '\r' || b[len(b)-1] == ' ') {
		b = b[:len(b)-1]
	}
	return b
}

// tooLong is the item of a line that is too long.
func tooLong() bulk.Item {
	return bulk.Item{Err: causeway.Errorf(causeway.GenericRequestEntityTooLarge, "transfer.read", "the line has more than %d bytes", bulk.MaxItem)}
}
