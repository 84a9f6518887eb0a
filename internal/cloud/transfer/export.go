package transfer

import (
	"context"
	"fmt"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/bulk"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

// export writes all identities of the hub, each device followed by its modules,
// then the configurations if they are wanted.
func (w *worker) export(ctx context.Context) error {
	c, err := w.containers.Open(w.job.Output)
	if err != nil {
		return err
	}
	total, err := w.registry.Count(ctx, w.job.Hub)
	if err != nil {
		return err
	}
	out := &writer{c: c, name: w.job.OutputName, try: w.try}
	var line []byte
	add := func(r *registry.Record) error {
		if line, err = bulk.AppendLine(line[:0], r, !w.job.ExcludeKeys); err != nil {
			return fmt.Errorf("write %s: %w", r.ID, err)
		}
		w.job.Position.Applied++
		return out.add(ctx, line)
	}
	w.job.Position.Applied = 0
	devices := 0
	for after := ""; ; {
		page, err := w.registry.List(ctx, w.job.Hub, after, exportPage)
		if err != nil {
			return err
		}
		for i := range page {
			if err := add(&page[i]); err != nil {
				return err
			}
			modules, err := w.registry.Modules(ctx, page[i].ID)
			if err != nil && causeway.CodeOf(err) != causeway.DeviceNotFound { // deleted meanwhile
				return err
			}
			for j := range modules {
				if err := add(&modules[j]); err != nil {
					return err
				}
			}
		}
		if devices += len(page); len(page) < exportPage {
			break
		}
		after = page[len(page)-1].ID.Device
		if err := w.progress(ctx, 100*devices/max(total.Total, devices)); err != nil {
			return err
		}
	}
	if err := out.commit(ctx); err != nil {
		return err
	}
	if !w.job.Configurations || w.configurations == nil {
		return nil
	}
	out = &writer{c: c, name: w.job.ConfigurationsName, try: w.try}
	err = w.configurations.Export(ctx, w.job.Hub, func(line []byte) error {
		return out.add(ctx, append(line[:len(line):len(line)], '\n'))
	})
	if err != nil {
		return err
	}
	return out.commit(ctx)
}
