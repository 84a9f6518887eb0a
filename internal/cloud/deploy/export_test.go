package deploy

import "context"

// CheckContent reads a content and returns it as it is kept.
func CheckContent(text []byte) ([]byte, error) {
	if _, err := parseContent(text); err != nil {
		return nil, err
	}
	return compact(text)
}

// SettleNow looks at the devices in the queue as a worker does.
func (s *Service) SettleNow(ctx context.Context) error {
	for {
		e, m := s.queue.take()
		if e == nil {
			return nil
		}
		if err := s.settle(ctx, e.id, m); err != nil {
			return err
		}
		s.queue.done(e)
	}
}
