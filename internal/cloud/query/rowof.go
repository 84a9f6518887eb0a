package query

import (
	"context"

	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/twinview"
	"github.com/causeway-iot/causeway/internal/lang/hubquery"
)

// Row returns rec as the queries of this service see it: with its connection and
// its queue as they are now, or as last written down when that is not known.
// Both are only asked for when the row is.
func (s *Service) Row(ctx context.Context, rec *registry.Record) hubquery.Row {
	return RowOf(rec, func() twinview.Live {
		c := scan{s: s, hub: rec.ID.Hub, queued: true}
		if s.liveOf != nil {
			if l, ok := s.liveOf(rec.ID.Hub); ok {
				c.live = l
			}
		}
		l, err := c.facts(ctx, rec)
		if err != nil {
			return twinview.Live{Connected: rec.Connected, StateUpdated: rec.ConnectionStateUpdated, LastActivity: rec.LastActivity}
		}
		return l
	})
}
