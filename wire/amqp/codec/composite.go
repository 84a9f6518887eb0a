package codec

import "strconv"

// Code is the numeric descriptor of a composite type or section.
type Code uint64

// The composite types and sections of the standard.
const (
	CodeOpen                  Code = 0x10
	CodeBegin                 Code = 0x11
	CodeAttach                Code = 0x12
	CodeFlow                  Code = 0x13
	CodeTransfer              Code = 0x14
	CodeDisposition           Code = 0x15
	CodeDetach                Code = 0x16
	CodeEnd                   Code = 0x17
	CodeClose                 Code = 0x18
	CodeError                 Code = 0x1D
	CodeReceived              Code = 0x23
	CodeAccepted              Code = 0x24
	CodeRejected              Code = 0x25
	CodeReleased              Code = 0x26
	CodeModified              Code = 0x27
	CodeSource                Code = 0x28
	CodeTarget                Code = 0x29
	CodeDeleteOnClose         Code = 0x2B
	CodeDeleteOnNoLinks       Code = 0x2C
	CodeDeleteOnNoMessages    Code = 0x2D
	CodeDeleteOnNothing       Code = 0x2E
	CodeCoordinator           Code = 0x30
	CodeDeclared              Code = 0x33
	CodeTransactionalState    Code = 0x34
	CodeSASLMechanisms        Code = 0x40
	CodeSASLInit              Code = 0x41
	CodeSASLChallenge         Code = 0x42
	CodeSASLResponse          Code = 0x43
	CodeSASLOutcome           Code = 0x44
	CodeHeader                Code = 0x70
	CodeDeliveryAnnotations   Code = 0x71
	CodeMessageAnnotations    Code = 0x72
	CodeProperties            Code = 0x73
	CodeApplicationProperties Code = 0x74
	CodeData                  Code = 0x75
	CodeSequence              Code = 0x76
	CodeValue                 Code = 0x77
	CodeFooter                Code = 0x78
)

// codeNames are the symbolic descriptors. Everybody sends the numbers, but the
// standard allows both.
func codeNames() [28]struct {
	code Code
	name string
} {
	return [...]struct {
		code Code
		name string
	}{
		{CodeOpen, "amqp:open:list"},
		{CodeBegin, "amqp:begin:list"},
		{CodeAttach, "amqp:attach:list"},
		{CodeFlow, "amqp:flow:list"},
		{CodeTransfer, "amqp:transfer:list"},
		{CodeDisposition, "amqp:disposition:list"},
		{CodeDetach, "amqp:detach:list"},
		{CodeEnd, "amqp:end:list"},
		{CodeClose, "amqp:close:list"},
		{CodeError, "amqp:error:list"},
		{CodeReceived, "amqp:received:list"},
		{CodeAccepted, "amqp:accepted:list"},
		{CodeRejected, "amqp:rejected:list"},
		{CodeReleased, "amqp:released:list"},
		{CodeModified, "amqp:modified:list"},
		{CodeSource, "amqp:source:list"},
		{CodeTarget, "amqp:target:list"},
		{CodeCoordinator, "amqp:coordinator:list"},
		{CodeSASLOutcome, "amqp:sasl-outcome:list"},
		{CodeHeader, "amqp:header:list"},
		{CodeDeliveryAnnotations, "amqp:delivery-annotations:map"},
		{CodeMessageAnnotations, "amqp:message-annotations:map"},
		{CodeProperties, "amqp:properties:list"},
		{CodeApplicationProperties, "amqp:application-properties:map"},
		{CodeData, "amqp:data:binary"},
		{CodeSequence, "amqp:amqp-sequence:list"},
		{CodeValue, "amqp:amqp-value:*"},
		{CodeFooter, "amqp:footer:map"},
	}
}

// String returns the symbolic descriptor, or the number when it has none here.
func (c Code) String() string {
	switch c {
	case CodeSASLMechanisms:
		return "amqp:sasl-mechanisms:list"
	case CodeSASLInit:
		return "amqp:sasl-init:list"
	case CodeSASLChallenge:
		return "amqp:sasl-challenge:list"
	case CodeSASLResponse:
		return "amqp:sasl-response:list"
	}
	for _, e := range codeNames() {
		if e.code == c {
			return e.name
		}
	}
	return "0x" + strconv.FormatUint(uint64(c), 16)
}

// codeNamed returns the code of a symbolic descriptor.
func codeNamed(name string) (Code, bool) {
	for c := CodeSASLMechanisms; c <= CodeSASLResponse; c++ {
		if c.String() == name {
			return c, true
		}
	}
	for _, e := range codeNames() {
		if e.name == name {
			return e.code, true
		}
	}
	return 0, false
}

// describedAs cuts the descriptor that begins b off it.
func describedAs(b string) (Code, string, error) {
	if len(b) > 2 && b[0] == cDescribed && b[1] == cUlong8 {
		return Code(b[2]), b[3:], nil
	}
	if b == "" || b[0] != cDescribed {
		return 0, "", malformed("value is not described")
	}
	d, rest, err := read(b[1:], MaxDepth-1)
	if err != nil {
		return 0, "", err
	}
	switch d.kind {
	case KindUlong:
		return Code(d.num), rest, nil
	case KindSymbol:
		if c, ok := codeNamed(d.s); ok {
			return c, rest, nil
		}
	}
	return 0, "", malformedf("unknown descriptor %v", d)
}

// composite is a described list with named fields.
type composite interface {
	// Code returns the descriptor.
	Code() Code
	// fields is the table of the type: it names every field in its order, with
	// its type and default, and is walked along for reading and for writing.
	fields(f *fields)
}

// walk walks along the table of c. It names the types instead of asking the
// interface so that f stays on the stack: nothing is allocated for a frame.
func walk(c composite, f *fields) {
	switch c := c.(type) {
	case *Transfer:
		c.fields(f)
	case *Disposition:
		c.fields(f)
	case *Flow:
		c.fields(f)
	case *Header:
		c.fields(f)
	case *Properties:
		c.fields(f)
	case *accepted:
		c.fields(f)
	case *rejected:
		c.fields(f)
	case *released:
		c.fields(f)
	case *modified:
		c.fields(f)
	case *received:
		c.fields(f)
	case *Condition:
		c.fields(f)
	case *Attach:
		c.fields(f)
	case *Source:
		c.fields(f)
	case *Target:
		c.fields(f)
	case *Coordinator:
		c.fields(f)
	case *Detach:
		c.fields(f)
	case *Begin:
		c.fields(f)
	case *End:
		c.fields(f)
	case *Open:
		c.fields(f)
	case *Close:
		c.fields(f)
	case *SASLMechanisms:
		c.fields(f)
	case *SASLInit:
		c.fields(f)
	case *SASLChallenge:
		c.fields(f)
	case *SASLResponse:
		c.fields(f)
	case *SASLOutcome:
		c.fields(f)
	default:
		f.fail("%v has no table", c.Code())
	}
}

// appendComposite appends c with its descriptor.
func appendComposite(dst []byte, c composite) []byte {
	dst = append(dst, cDescribed, cUlong8, byte(c.Code()))
	dst, start := open(dst, cList8)
	f := fields{out: dst, end: len(dst), write: true}
	walk(c, &f)
	if whole(c.Code()) {
		f.end, f.count = len(f.out), f.walked
	}
	if f.count == 0 {
		return append(dst[:start], cList0)
	}
	return shut(f.out[:f.end], start, f.count)
}

// whole reports whether composites of a code are written with all their fields,
// though nulls at the end may be left out. There are peers that count the fields
// of frames, and of what is in them: the Event Hubs client for Python is one. In
// messages and outcomes, which come by the million, the nulls are left out.
func whole(c Code) bool {
	return c >= CodeOpen && c <= CodeClose || c == CodeError || c == CodeSource || c == CodeTarget
}

// readComposite reads the list that b begins with, after its descriptor, into c.
func readComposite(b string, c composite, depth int) (rest string, err error) {
	v, rest, err := list(b)
	if err != nil {
		return "", err
	}
	if v.kind != KindList {
		return "", malformedf("%v is a %v", c.Code(), v.kind)
	}
	f := fields{in: v.s, left: v.n, depth: depth - 1, code: c.Code()}
	walk(c, &f)
	if f.err != nil {
		return "", f.err
	}
	if f.left > 0 || f.in != "" {
		return "", malformedf("%v has more fields than the standard gives it", c.Code())
	}
	return rest, nil
}

// Optional is a field that may be absent and has no default.
type Optional[T any] struct {
	V  T
	OK bool // V is present
}

// Some returns a field that is present.
func Some[T any](v T) Optional[T] { return Optional[T]{V: v, OK: true} }

// Or returns the field, or def when it is absent.
func (o Optional[T]) Or(def T) T {
	if o.OK {
		return o.V
	}
	return def
}
