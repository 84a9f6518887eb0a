package presence

// SetMaxPending lowers the bound so that a test can reach it.
func (t *Table[H]) SetMaxPending(n int64) { t.limit = n }
