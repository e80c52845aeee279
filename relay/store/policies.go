package store

import (
	"bytes"
	"context"

	"go.etcd.io/bbolt"

	"gatepost/mtasts"
)

// Policies returns the part of the database that keeps policies. It lives as
// long as the Store.
func (s *Store) Policies() mtasts.Store { return policies{s} }

// policies implements mtasts.Store; its contract is there.
type policies struct{ s *Store }

// Load implements mtasts.Store.
func (p policies) Load(ctx context.Context, domain string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var out []byte
	err := p.s.db.View(func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucketPolicies).Get([]byte(domain))
		if v == nil {
			return mtasts.ErrNotStored
		}
		out = bytes.Clone(v)
		return nil
	})
	return out, err
}

// Save implements mtasts.Store.
func (p policies) Save(ctx context.Context, domain string, value []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return p.s.db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketPolicies).Put([]byte(domain), bytes.Clone(value))
	})
}

// Delete implements mtasts.Store.
func (p policies) Delete(ctx context.Context, domain string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return p.s.db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketPolicies).Delete([]byte(domain))
	})
}

// List implements mtasts.Store.
func (p policies) List(ctx context.Context, yield func(domain string, value []byte) error) error {
	return p.s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketPolicies).ForEach(func(k, v []byte) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return yield(string(k), bytes.Clone(v))
		})
	})
}
