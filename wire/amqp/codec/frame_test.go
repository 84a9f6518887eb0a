package codec_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

func TestSplit(t *testing.T) {
	for name, c := range map[string]struct {
		wire string
		n    int
		body string
		err  string
	}{
		"heartbeat":           {"0000000802000000", 8, "", ""},
		"not yet":             {"00000009020000", 0, "", ""},
		"not yet all":         {"0000000902000000", 0, "", ""},
		"extended header":     {"0000000d03000000ffffffff41", 13, "41", ""},
		"more behind":         {"000000090200000041ff", 9, "41", ""},
		"too short":           {"0000000702000000", 0, "", "frame of 7 bytes is shorter than its header"},
		"too long":            {"0000100102000000", 0, "", "frame of 4097 bytes is larger than the 4096 that were agreed on"},
		"body in the header":  {"0000000801000000", 0, "", "data offset of 4 bytes is within the header of the frame"},
		"body after the end":  {"0000000803000000", 0, "", "data offset of 12 bytes is after the end of the frame"},
		"neither type":        {"0000000802020000", 0, "", "unknown frame type 2"},
		"HTTP instead of all": {"474554202f204854", 0, "", "frame of 1195725856 bytes is larger than the 4096 that were agreed on"},
	} {
		f, n, err := codec.Split(unhex(t, c.wire), 4096)
		if c.err != "" {
			var e *codec.Error
			if !errors.As(err, &e) || e.Condition != codec.FramingError || e.Msg != c.err {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || n != c.n || !bytes.Equal(f.Body, unhex(t, c.body)) {
			t.Errorf("%s: %d bytes, body %x, %v", name, n, f.Body, err)
		}
	}
}

func TestReader(t *testing.T) {
	var stream []byte
	stream = codec.ProtocolSASL.Append(stream)
	var sizes []int
	for i := range 50 {
		before := len(stream)
		stream = codec.AppendFrame(stream, uint16(i), &codec.Transfer{Handle: uint32(i)}, bytes.Repeat([]byte{byte(i)}, i*i*20))
		sizes = append(sizes, len(stream)-before)
		stream = codec.AppendFrame(stream, 0, nil, nil)
	}
	for name, r := range map[string]io.Reader{
		"whole":         bytes.NewReader(stream),
		"byte by byte":  iotest.OneByteReader(bytes.NewReader(stream)),
		"half by half":  iotest.HalfReader(bytes.NewReader(stream)),
		"with the end":  iotest.DataErrReader(bytes.NewReader(stream)),
		"nothing first": io.MultiReader(bytes.NewReader(nil), bytes.NewReader(stream)),
	} {
		t.Run(name, func(t *testing.T) {
			fr := codec.NewReader(r, 64<<10)
			if p, err := fr.Protocol(); err != nil || p != codec.ProtocolSASL {
				t.Fatalf("protocol %d, %v", p, err)
			}
			for i, size := range sizes {
				f, err := fr.Next()
				if err != nil {
					t.Fatalf("frame %d: %v", i, err)
				}
				var p codec.Transfer
				payload, err := f.Decode(&p)
				if err != nil || int(f.Channel) != i || int(p.Handle) != i || len(f.Body) != size-8 || len(payload) != i*i*20 {
					t.Fatalf("frame %d: channel %d, handle %d, %d bytes, %v", i, f.Channel, p.Handle, len(f.Body), err)
				}
				if f, err = fr.Next(); err != nil || len(f.Body) != 0 {
					t.Fatalf("heartbeat %d: %d bytes, %v", i, len(f.Body), err)
				}
			}
			if _, err := fr.Next(); err != io.EOF || fr.Buffered() != 0 {
				t.Errorf("after the last: %v, %d bytes", err, fr.Buffered())
			}
		})
	}
	fr := codec.NewReader(bytes.NewReader(stream[:20]), 512)
	if _, err := fr.Protocol(); err != nil {
		t.Fatal(err)
	}
	if _, err := fr.Next(); err != io.ErrUnexpectedEOF {
		t.Errorf("within a frame: %v", err)
	}
	fr = codec.NewReader(iotest.ErrReader(errors.ErrUnsupported), 512)
	if _, err := fr.Next(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("error of the stream: %v", err)
	}
}

// TestReaderMemory announces a frame of a megabyte and sends little of it.
func TestReaderMemory(t *testing.T) {
	const limit = 1 << 20
	b := append([]byte{0, 0x10, 0, 0, 2, 0, 0, 0}, make([]byte, 5000)...)
	n := testing.AllocsPerRun(1, func() {
		if _, err := codec.NewReader(iotest.OneByteReader(bytes.NewReader(b)), limit).Next(); err != io.ErrUnexpectedEOF {
			t.Fatal(err)
		}
	})
	if n > 10 {
		t.Errorf("%v allocations", n)
	}
	largest := &largestRead{r: bytes.NewReader(b)}
	if _, err := codec.NewReader(largest, limit).Next(); err != io.ErrUnexpectedEOF {
		t.Fatal(err)
	}
	if largest.n > 2*len(b) {
		t.Errorf("room for %d bytes when %d had been sent", largest.n, len(b))
	}
}

type largestRead struct {
	r io.Reader
	n int
}

func (l *largestRead) Read(p []byte) (int, error) {
	l.n = max(l.n, len(p))
	return l.r.Read(p)
}

func TestProtocol(t *testing.T) {
	for h, want := range map[string]codec.Protocol{
		"AMQP\x00\x01\x00\x00": codec.ProtocolAMQP,
		"AMQP\x02\x01\x00\x00": codec.ProtocolTLS,
		"AMQP\x03\x01\x00\x00": codec.ProtocolSASL,
	} {
		p, err := codec.ParseProtocol([8]byte([]byte(h)))
		if err != nil || p != want || string(p.Append(nil)) != h {
			t.Errorf("%q: %d, %v", h, p, err)
		}
	}
	for _, h := range []string{"AMQP\x01\x01\x00\x00", "AMQP\x00\x00\x09\x01", "AMQP\x00\x01\x00\x01", "GET / HT"} {
		if p, err := codec.ParseProtocol([8]byte([]byte(h))); err == nil {
			t.Errorf("%q: %d", h, p)
		}
	}
}
