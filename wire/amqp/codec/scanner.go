package codec

import "unicode/utf8"

// Scanner reads messages that are written the way everybody writes them, with no
// [Message], [Map] or [Value] in between. It gives up on all others, valid or not
// ([Scanner.Failed]): then [Message.Decode] has to read the message, and says
// what is wrong with it if anything is. It is for those who read many messages.
//
// After it gave up, methods return zero values. What they return points into the
// bytes given to [NewScanner].
type Scanner struct {
	s      string
	after  int // bytes after the open list or map
	failed bool
}

// NewScanner returns a Scanner of the message in b.
func NewScanner(b []byte) Scanner { return Scanner{s: view(b)} }

// Failed reports whether the Scanner gave up.
func (r *Scanner) Failed() bool { return r.failed }

// Fail makes the Scanner give up.
func (r *Scanner) Fail() { r.failed, r.s = true, "" }

// More reports whether there is something left to read.
func (r *Scanner) More() bool { return r.s != "" }

// Section returns the code of the next section, whose value follows.
func (r *Scanner) Section() Code {
	if len(r.s) < 4 || r.s[0] != cDescribed || r.s[1] != cUlong8 {
		r.Fail()
		return 0
	}
	code := Code(r.s[2])
	r.s = r.s[3:]
	return code
}

// List opens a list and returns the number of its elements.
func (r *Scanner) List() int {
	if r.s != "" && r.s[0] == cList0 {
		r.s = r.s[1:]
		r.after = len(r.s)
		return 0
	}
	return r.compound(cList8)
}

// Map opens a map and returns the number of its keys and values together. It is
// the caller who sees to it that there is no key twice.
func (r *Scanner) Map() int {
	n := r.compound(cMap8)
	if n%2 != 0 {
		r.Fail()
		return 0
	}
	return n
}

func (r *Scanner) compound(narrow byte) int {
	var size, n int
	switch s := r.s; {
	case len(s) > 2 && s[0] == narrow:
		size, n = int(s[1])-1, int(s[2])
		r.s = s[3:]
	case len(s) > 8 && s[0] == narrow+wider:
		size, n = int(be32(s[1:]))-4, int(be32(s[5:]))
		r.s = s[9:]
	default:
		r.Fail()
		return 0
	}
	if size < n || size > len(r.s) || n > MaxElements {
		r.Fail()
		return 0
	}
	r.after = len(r.s) - size
	return n
}

// End ends the list or map that was opened last, all elements of which must have
// been read.
func (r *Scanner) End() {
	if len(r.s) != r.after {
		r.Fail()
	}
}

// Null reports whether the next value is null, and steps over it then.
func (r *Scanner) Null() bool {
	if r.s != "" && r.s[0] == cNull {
		r.s = r.s[1:]
		return true
	}
	return false
}

// IsUUID reports whether the next value is a uuid.
func (r *Scanner) IsUUID() bool { return r.s != "" && r.s[0] == cUUID }

// UUID reads a uuid.
func (r *Scanner) UUID() (u [16]byte) {
	if len(r.s) < 17 || r.s[0] != cUUID {
		r.Fail()
		return u
	}
	copy(u[:], r.s[1:])
	r.s = r.s[17:]
	return u
}

// Timestamp reads a timestamp.
func (r *Scanner) Timestamp() Timestamp {
	if len(r.s) < 9 || r.s[0] != cTimestamp {
		r.Fail()
		return 0
	}
	t := Timestamp(be64(r.s[1:]))
	r.s = r.s[9:]
	return t
}

// Long reads a long.
func (r *Scanner) Long() int64 {
	switch s := r.s; {
	case len(s) > 1 && s[0] == cLong8:
		r.s = s[2:]
		return int64(int8(s[1]))
	case len(s) > 8 && s[0] == cLong:
		r.s = s[9:]
		return int64(be64(s[1:]))
	}
	r.Fail()
	return 0
}

// String reads a string.
func (r *Scanner) String() string {
	s := r.sized(cString8)
	if !utf8.ValidString(s) {
		r.Fail()
		return ""
	}
	return s
}

// Symbol reads a symbol.
func (r *Scanner) Symbol() string {
	s := r.sized(cSymbol8)
	if !ascii(s) {
		r.Fail()
		return ""
	}
	return s
}

// Binary reads binary. It must not be written to.
func (r *Scanner) Binary() []byte { return bytesOf(r.sized(cBinary8)) }

// sized reads bytes behind their number; the narrow constructor is given.
func (r *Scanner) sized(narrow byte) string {
	s := r.s
	if len(s) > 1 && s[0] == narrow {
		if n := int(s[1]) + 2; n <= len(s) {
			r.s = s[n:]
			return s[2:n]
		}
	} else if len(s) > 4 && s[0] == narrow+(cBinary32-cBinary8) {
		if n := uint64(be32(s[1:])) + 5; n <= uint64(len(s)) {
			r.s = s[n:]
			return s[5:n]
		}
	}
	r.Fail()
	return ""
}
