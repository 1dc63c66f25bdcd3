"""Two-stage ranking: candidates of several models, ordered by boosted trees and networks."""
