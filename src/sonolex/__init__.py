"""sonolex"""
