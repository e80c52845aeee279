package store

import (
	"bytes"
	"context"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"gatepost/mtasts"
)

// Policies returns the part of the database that keeps policies for
// mtasts.Cache.
func (s *Store) Policies() mtasts.Store { return policies{s} }

type policies struct{ s *Store }

// Load implements mtasts.Store.
func (p policies) Load(ctx context.Context, domain string) (value []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = p.s.view(func(tx *bolt.Tx) error {
		// What bbolt gives is valid only within the transaction.
		value = bytes.Clone(tx.Bucket(bucketPolicies).Get([]byte(domain)))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("store: policy of %s: %w", domain, err)
	}
	if value == nil {
		return nil, mtasts.ErrNotStored
	}
	return value, nil
}

// Save implements mtasts.Store.
func (p policies) Save(ctx context.Context, domain string, value []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := p.s.update(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketPolicies).Put([]byte(domain), value)
	})
	if err != nil {
		return fmt.Errorf("store: policy of %s: %w", domain, err)
	}
	return nil
}

// Delete implements mtasts.Store.
func (p policies) Delete(ctx context.Context, domain string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := p.s.update(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketPolicies).Delete([]byte(domain))
	})
	if err != nil {
		return fmt.Errorf("store: policy of %s: %w", domain, err)
	}
	return nil
}

// List implements mtasts.Store. yield is called without a transaction.
func (p policies) List(ctx context.Context, yield func(domain string, value []byte) error) error {
	var domains []string
	err := p.s.view(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketPolicies).ForEach(func(k, _ []byte) error {
			domains = append(domains, string(k))
			return ctx.Err()
		})
	})
	if err != nil {
		return fmt.Errorf("store: policies: %w", err)
	}
	for _, domain := range domains {
		if err := ctx.Err(); err != nil {
			return err
		}
		var value []byte
		err := p.s.view(func(tx *bolt.Tx) error {
			value = bytes.Clone(tx.Bucket(bucketPolicies).Get([]byte(domain)))
			return nil
		})
		if err != nil {
			return fmt.Errorf("store: policy of %s: %w", domain, err)
		}
		if value == nil {
			continue // deleted meanwhile
		}
		if err := yield(domain, value); err != nil {
			return err
		}
	}
	return nil
}
