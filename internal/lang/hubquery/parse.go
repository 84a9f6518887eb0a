package hubquery

import (
	"strings"
	"unicode/utf8"
)

// parser reads a text by recursive descent, one token ahead. Its first error
// stays in err, and every later token is the end of the text, so that nothing
// goes on for long after it.
type parser struct {
	lexer      lexer
	tok        token // the next one
	err        error
	depth      int
	collection Collection // known before paths are read; see collect
}

func newParser(text string) (*parser, error) {
	if !utf8.ValidString(text) {
		return nil, &Error{Line: 1, Column: 1, Msg: "the text is not UTF-8"}
	}
	if n := utf8.RuneCountInString(text); n > MaxText {
		return nil, &Error{Line: 1, Column: 1, Msg: "the text is too long", Hint: "at most 8192 characters are allowed"}
	}
	p := &parser{lexer: lexer{text: text}}
	p.advance()
	return p, p.err
}

// advance takes the next token.
func (p *parser) advance() {
	if p.err != nil {
		return
	}
	t, err := p.lexer.next()
	if err != nil {
		p.err = err
		t = token{kind: endOfText, at: len(p.lexer.text)}
	}
	p.tok = t
}

// fail notes the first error.
func (p *parser) fail(at int, hint, format string, args ...any) {
	if p.err == nil {
		p.err = errorAt(p.lexer.text, at, hint, format, args...)
		p.tok = token{kind: endOfText, at: len(p.lexer.text)}
	}
}

// unexpected says what was wanted instead of the next token.
func (p *parser) unexpected(wanted, hint string) {
	p.fail(p.tok.at, hint, "%s was expected, not %s", wanted, p.tok.describe())
}

// keyword takes a keyword if it is next.
func (p *parser) keyword(name string) bool {
	if p.tok.upper() != name {
		return false
	}
	p.advance()
	return true
}

// symbol takes a symbol if it is next.
func (p *parser) symbol(sym string) bool {
	if !p.tok.is(sym) {
		return false
	}
	p.advance()
	return true
}

// enter goes one level down, and reports whether that is allowed.
func (p *parser) enter() bool {
	if p.depth++; p.depth > MaxDepth {
		p.fail(p.tok.at, "", "the text is nested deeper than %d levels", MaxDepth)
	}
	return p.err == nil
}

func (p *parser) leave() { p.depth-- }

// query reads a whole query.
func (p *parser) query() (*Query, error) {
	q := &Query{}
	if !p.keyword("SELECT") {
		p.unexpected("SELECT", "")
	}
	if q.collection = p.collect(); p.err != nil {
		return nil, p.err
	}
	p.collection = q.collection
	if p.keyword("TOP") {
		q.top = p.top()
	}
	p.projection(q)
	if p.keyword("FROM") {
		p.from()
	}
	if p.keyword("WHERE") {
		q.where = p.expression()
	}
	if q.groupAt = p.tok.at; p.keyword("GROUP") {
		p.groupBy(q)
	}
	p.end()
	if p.err != nil {
		return nil, p.err
	}
	return q, nil
}

// collect looks ahead for FROM, because what a name in the projection means
// depends on it. The token and the place stay as they are.
func (p *parser) collect() Collection {
	ahead := parser{lexer: p.lexer, tok: p.tok, err: p.err}
	for ahead.err == nil && ahead.tok.kind != endOfText {
		if ahead.tok.is(".") { // a member of that name
			ahead.advance()
			ahead.advance()
			continue
		}
		if ahead.keyword("AS") {
			ahead.advance()
			continue
		}
		if ahead.keyword("FROM") {
			c := ahead.from()
			p.err = ahead.err
			return c
		}
		ahead.advance()
	}
	p.err = ahead.err
	return Devices
}

// from reads the name of a collection.
func (p *parser) from() Collection {
	const hint = "there are devices, devices.modules and devices.jobs"
	at := p.tok.at
	if p.tok.upper() != "DEVICES" {
		p.unexpected("the name of a collection", hint)
		return Devices
	}
	p.advance()
	if !p.symbol(".") {
		return Devices
	}
	switch name := p.tok.upper(); name {
	case "MODULES", "JOBS":
		p.advance()
		if name == "JOBS" {
			return Jobs
		}
		return Modules
	}
	p.fail(at, hint, "there is no collection devices.%s", p.tok.text)
	return Devices
}

// top reads the number after TOP.
func (p *parser) top() int {
	t := p.tok
	if t.kind != numberToken || !(t.num >= 1 && t.num <= MaxTop) || t.num != float64(int(t.num)) {
		p.unexpected("a whole number from 1", "as in SELECT TOP 10 *")
		return 0
	}
	p.advance()
	return int(t.num)
}

// projection reads what stands between SELECT and FROM.
func (p *parser) projection(q *Query) {
	q.starAt = p.tok.at
	for p.err == nil {
		switch {
		case p.tok.is("*"):
			at := p.tok.at
			p.advance()
			if len(q.items) > 0 || q.star || p.tok.is(",") {
				p.fail(at, "", "* stands alone: it is the whole item")
				return
			}
			q.star = true
		default:
			q.items = append(q.items, p.item())
		}
		if !p.symbol(",") {
			return
		}
		if q.star {
			p.fail(q.starAt, "", "* stands alone: it is the whole item")
		}
	}
}

// item reads one part of a projection.
func (p *parser) item() item {
	it := item{at: p.tok.at}
	p.absent(p.tok)
	if a := aggregates[p.tok.upper()]; a != noAggregate && p.peek().is("(") {
		it.agg = a
		p.advance()
		p.advance()
		it.expr = p.aggregateArgument(a)
	} else {
		it.expr = p.expression()
	}
	switch {
	case p.keyword("AS"):
		if p.tok.kind != word && p.tok.kind != bracketed {
			p.unexpected("a name", "names with other characters stand in double brackets")
			return it
		}
		it.alias = p.tok.text
		p.advance()
	case p.tok.kind == bracketed, p.tok.kind == word && !reserved[p.tok.upper()] && absentWords[p.tok.upper()] == "":
		it.alias = p.tok.text
		p.advance()
	}
	return it
}

// aggregateArgument reads what stands in the parentheses of an aggregate.
func (p *parser) aggregateArgument(a aggregate) expr {
	if a == count {
		// Documented without an argument; others write one.
		if !p.symbol("*") && p.tok.kind == numberToken && p.tok.num == 1 {
			p.advance()
		}
		if !p.symbol(")") {
			p.unexpected("\")\"", "COUNT() counts rows and takes no argument")
		}
		return nil
	}
	at := p.tok.at
	x := p.expression()
	if _, ok := x.(*pathExpr); !ok && p.err == nil {
		p.fail(at, "as in AVG(properties.reported.temperature)", "an aggregate takes a path")
	}
	if !p.symbol(")") {
		p.unexpected("\")\"", "")
	}
	return x
}

// groupBy reads the paths of GROUP BY.
func (p *parser) groupBy(q *Query) {
	if !p.keyword("BY") {
		p.unexpected("BY", "as in GROUP BY tags.site")
		return
	}
	for p.err == nil {
		at := p.tok.at
		x, ok := p.add().(*pathExpr)
		if !ok {
			p.fail(at, "as in GROUP BY tags.site", "GROUP BY takes paths")
			return
		}
		q.group = append(q.group, groupPath{at, x.path})
		if !p.symbol(",") {
			return
		}
	}
}

// end takes the end of the text.
func (p *parser) end() {
	p.symbol(";")
	if p.tok.kind == endOfText {
		return
	}
	p.absent(p.tok)
	p.unexpected("the end of the text", "")
}

// peek returns the token after the next.
func (p *parser) peek() token {
	ahead := parser{lexer: p.lexer, err: p.err}
	ahead.advance()
	return ahead.tok
}

// reserved words cannot be a name without AS, nor begin a path.
var reserved = map[string]bool{
	"SELECT": true, "TOP": true, "FROM": true, "WHERE": true, "GROUP": true, "BY": true, "AS": true,
	"AND": true, "OR": true, "NOT": true, "IN": true, "NIN": true,
}

// absentWords are of other languages with SELECT, and what to do without them.
var absentWords = map[string]string{
	"ORDER": "rows come in the order of their ids", "LIMIT": "write SELECT TOP n, or ask for pages",
	"OFFSET": "ask for pages", "DISTINCT": "write GROUP BY", "HAVING": "", "JOIN": "",
	"LIKE": "write STARTSWITH, ENDSWITH or CONTAINS", "BETWEEN": "write >= and <=", "UNION": "",
}

// absent fails at a word of those other languages.
func (p *parser) absent(t token) {
	name := t.upper()
	hint, known := absentWords[name]
	if !known || p.peek().is(".") {
		return
	}
	p.fail(t.at, hint, "there is no %s in this language", strings.ToUpper(name))
}
