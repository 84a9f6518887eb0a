package sqlite

import (
	"errors"

	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

// each calls f with some parts of the records that a way leads to, in their
// order. The record is valid until f returns.
func (a *access) each(c *conn, sel *registry.Selection, parts registry.Parts, f func(rec *registry.Record) error) error {
	if a.rank == byOrder && !sel.Modules && parts&identityParts != 0 && parts&^identityParts != 0 {
		return a.zip(c, sel, parts, f)
	}
	text, args, l := a.statement(sel, parts)
	var rec registry.Record
	return c.once(text, func(r row) error {
		rec = registry.Record{}
		if err := l.scan(r, sel.Hub, &rec); err != nil {
			c.damage.tell(err)
		}
		return f(&rec)
	}, args...)
}

// zip is each for all devices. Identities and twins have the same order, so one
// statement goes through either, beside the other: a join would look every twin
// up by its name, which costs as much as reading it.
func (a *access) zip(c *conn, sel *registry.Selection, parts registry.Parts, f func(rec *registry.Record) error) (err error) {
	var halves [2]half
	defer func() {
		for i := range halves {
			if e := halves[i].close(); err == nil {
				err = e
			}
		}
	}()
	// What is open first keeps the moment that the other sees too.
	for i, p := range [...]registry.Parts{parts & identityParts, parts &^ identityParts} {
		if err := halves[i].open(c, a, sel, p); err != nil {
			return err
		}
	}
	identities, twins := &halves[0], &halves[1]
	var rec registry.Record
	for {
		if err := identities.next(); err != nil || identities.row == nil {
			return err
		}
		rec = registry.Record{}
		if err := identities.layout.scan(identities.row, sel.Hub, &rec); err != nil {
			c.damage.tell(err)
		}
		for twins.row == nil || twins.row.text(0) < rec.ID.Device {
			if err := twins.next(); err != nil || twins.row == nil {
				return err
			}
		}
		if twins.row.text(0) != rec.ID.Device {
			continue // without a twin, as a join would have it
		}
		if err := twins.layout.scan(twins.row, sel.Hub, &rec); err != nil {
			c.damage.tell(err)
		}
		if err := f(&rec); err != nil {
			return err
		}
	}
}

// half is one of two statements that go beside each other.
type half struct {
	st     *statement
	cur    cursor
	opened bool
	layout layout
	row    row // the one it is at
}

func (h *half) open(c *conn, a *access, sel *registry.Selection, parts registry.Parts) error {
	text, args, l := a.statement(sel, parts)
	st, err := c.single(text, args)
	if err != nil {
		return err
	}
	h.st, h.layout = st, l
	h.cur, err = st.open()
	h.opened = err == nil
	return err
}

func (h *half) next() (err error) {
	h.row, err = h.cur.next()
	return err
}

func (h *half) close() error {
	var errs []error
	if h.opened {
		errs = append(errs, h.cur.close())
	}
	if h.st != nil {
		errs = append(errs, h.st.close())
	}
	return errors.Join(errs...)
}
