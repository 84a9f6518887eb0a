package hubquery

import (
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// kindOfToken is what a token is.
type kindOfToken uint8

const (
	endOfText kindOfToken = iota
	word                  // an identifier or a keyword
	bracketed             // [[any text]], text is what is inside
	stringToken
	numberToken
	symbol // an operator or punctuation, in text
)

// token is a piece of the text.
type token struct {
	kind kindOfToken
	at   int    // offset of its first byte
	text string // as written; of strings and brackets what they mean
	num  float64
}

// upper returns a word as keywords are compared, "" for other tokens.
func (t token) upper() string {
	if t.kind != word {
		return ""
	}
	return strings.ToUpper(t.text)
}

func (t token) is(sym string) bool { return t.kind == symbol && t.text == sym }

// describe names the token in a message.
func (t token) describe() string {
	switch t.kind {
	case endOfText:
		return "the end of the text"
	case stringToken:
		return "the text " + shown(t.text)
	case bracketed:
		return shown("[[" + t.text + "]]")
	default:
		return shown(t.text)
	}
}

// lexer takes a text apart.
type lexer struct {
	text string
	at   int
}

// symbols, longer ones first.
var symbols = []string{"<>", "!=", "<=", ">=", "=", "<", ">", "(", ")", "[", "]", ",", ".", "+", "-", "*", "/", "%", ";"}

// next returns the next token.
func (l *lexer) next() (token, error) {
	if err := l.skip(); err != nil {
		return token{}, err
	}
	if l.at == len(l.text) {
		return token{kind: endOfText, at: l.at}, nil
	}
	rest := l.text[l.at:]
	c := rest[0]
	switch {
	case c == '\'' || c == '"':
		return l.string(c)
	case c >= '0' && c <= '9':
		return l.number()
	case strings.HasPrefix(rest, "[["):
		return l.bracketed()
	}
	if n := wordLength(rest); n > 0 {
		return l.take(word, n), nil
	}
	switch {
	case strings.HasPrefix(rest, "=="):
		return token{}, errorAt(l.text, l.at, "equality is a single =", "\"==\" is not an operator")
	case strings.HasPrefix(rest, "&&"):
		return token{}, errorAt(l.text, l.at, "write AND", "\"&&\" is not an operator")
	case strings.HasPrefix(rest, "||"):
		return token{}, errorAt(l.text, l.at, "write OR, or CONCAT for texts", "\"||\" is not an operator")
	}
	for _, s := range symbols {
		if strings.HasPrefix(rest, s) {
			return l.take(symbol, len(s)), nil
		}
	}
	r, _ := utf8.DecodeRuneInString(rest)
	hint := "texts stand in quotes, names with such characters in double brackets, as in tags.[[my name]]"
	switch r {
	case '!':
		hint = "write NOT, or != between two values"
	case '@':
		hint = "there are no parameters; write the value itself"
	}
	return token{}, errorAt(l.text, l.at, hint, "the character %q has no meaning here", r)
}

func (l *lexer) take(k kindOfToken, n int) token {
	t := token{kind: k, at: l.at, text: l.text[l.at : l.at+n]}
	l.at += n
	return t
}

// skip passes over blanks and comments.
func (l *lexer) skip() error {
	for l.at < len(l.text) {
		if strings.HasPrefix(l.text[l.at:], "/*") {
			end := strings.Index(l.text[l.at+2:], "*/")
			if end < 0 {
				return errorAt(l.text, l.at, "end it with */", "a comment has no end")
			}
			l.at += 2 + end + 2
			continue
		}
		r, n := utf8.DecodeRuneInString(l.text[l.at:])
		if !unicode.IsSpace(r) {
			return nil
		}
		l.at += n
	}
	return nil
}

// wordLength returns the bytes of the identifier that s begins with.
func wordLength(s string) int {
	for i, r := range s {
		if r == '_' || r == '$' || unicode.IsLetter(r) || i > 0 && unicode.IsDigit(r) {
			continue
		}
		return i
	}
	return len(s)
}

// bracketed reads [[text]].
func (l *lexer) bracketed() (token, error) {
	at := l.at
	text, _, ok := strings.Cut(l.text[at+2:], "]]")
	if !ok {
		return token{}, errorAt(l.text, at, "end it with ]]", "a name in double brackets has no end")
	}
	if text == "" {
		return token{}, errorAt(l.text, at, "write the name between them", "the double brackets are empty")
	}
	l.at += len(text) + 4
	return token{kind: bracketed, at: at, text: text}, nil
}

// number reads a decimal or hexadecimal number without a sign.
func (l *lexer) number() (token, error) {
	at, rest := l.at, l.text[l.at:]
	n := 0
	digits := func() {
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
	}
	if len(rest) > 2 && rest[0] == '0' && (rest[1] == 'x' || rest[1] == 'X') && hexDigit(rest[2]) {
		for n = 2; n < len(rest) && hexDigit(rest[n]); n++ {
		}
	} else {
		digits()
		if n+1 < len(rest) && rest[n] == '.' && rest[n+1] >= '0' && rest[n+1] <= '9' {
			n++
			digits()
		}
		if n < len(rest) && (rest[n] == 'e' || rest[n] == 'E') {
			mark := n
			n++
			if n < len(rest) && (rest[n] == '+' || rest[n] == '-') {
				n++
			}
			first := n
			if digits(); n == first {
				n = mark // and the word is refused below
			}
		}
	}
	if more := wordLength(rest[n:]); more > 0 || n < len(rest) && rest[n] == '.' {
		end := n
		for end < len(rest) && (rest[end] == '.' || rest[end] >= '0' && rest[end] <= '9' || wordLength(rest[end:]) > 0) {
			_, size := utf8.DecodeRuneInString(rest[end:])
			end += size
		}
		if strings.Trim(rest[:end], "0123456789.") != "" {
			return token{}, errorAt(l.text, at, "texts stand in quotes", "%s is not a number", shown(rest[:end]))
		}
		// IoT Explorer does not put what has digits and dots only into quotes,
		// an address for instance. Nothing equals it.
		t := l.take(numberToken, end)
		t.num = math.NaN()
		return t, nil
	}
	t := l.take(numberToken, n)
	if strings.HasPrefix(t.text, "0x") || strings.HasPrefix(t.text, "0X") {
		for _, d := range t.text[2:] {
			v, _ := strconv.ParseUint(string(d), 16, 8) // a hexadecimal digit
			t.num = t.num*16 + float64(v)
		}
	} else {
		t.num, _ = strconv.ParseFloat(t.text, 64) // too large is infinite
	}
	if math.IsInf(t.num, 0) {
		return token{}, errorAt(l.text, at, "numbers are of 64 bits, up to about 1.8e308", "the number %s is too large", shown(t.text))
	}
	return t, nil
}

func hexDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// string reads a text in quotes.
func (l *lexer) string(quote byte) (token, error) {
	at := l.at
	var b strings.Builder
	for i := at + 1; i < len(l.text); {
		c := l.text[i]
		switch {
		case c == quote && quote == '\'' && i+1 < len(l.text) && l.text[i+1] == '\'':
			b.WriteByte('\'')
			i += 2
		case c == quote:
			l.at = i + 1
			return token{kind: stringToken, at: at, text: b.String()}, nil
		case c == '\\':
			r, n := escape(l.text[i:])
			if n == 0 {
				return token{}, errorAt(l.text, i, `there are \' \" \\ and \uXXXX; write \\ for a backslash`, "an escape in a text is not known")
			}
			b.WriteRune(r)
			i += n
		default:
			b.WriteByte(c)
			i++
		}
	}
	return token{}, errorAt(l.text, at, "end it with "+string(rune(quote)), "a text has no end")
}

// escape reads the escape that s begins with: the character and its length, 0
// when it is none.
func escape(s string) (rune, int) {
	if len(s) < 2 {
		return 0, 0
	}
	switch s[1] {
	case '\'', '"', '\\', '/':
		return rune(s[1]), 2
	case 'u', 'U':
		r, ok := unit(s)
		if !ok {
			return 0, 0
		}
		if low, ok := unit(s[6:]); ok && r >= 0xd800 && r < 0xdc00 && low >= 0xdc00 && low < 0xe000 {
			return (r-0xd800)<<10 + (low - 0xdc00) + 0x10000, 12
		}
		return r, 6 // half a pair becomes U+FFFD
	}
	return 0, 0
}

// unit reads \uXXXX.
func unit(s string) (rune, bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' && s[1] != 'U' {
		return 0, false
	}
	n, err := strconv.ParseUint(s[2:6], 16, 16)
	return rune(n), err == nil
}
